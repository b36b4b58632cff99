export {
  type SessionCallback,
  type SessionData,
  type SessionStoreCalls,
  type SessionStoreOptions,
  sessionStore,
} from './adapters/express-session/session-store.js'
