export {
  type UnstorageDriver,
  type UnstorageDriverOptions,
  type UnstorageItemOptions,
  unstorageDriver,
} from './adapters/unstorage/unstorage-driver.js'
