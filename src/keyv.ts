export { KeyvStore, type KeyvStoreEntry, type KeyvStoreOptions } from './adapters/keyv/keyv-store.js'
