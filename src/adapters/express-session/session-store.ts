import { invalidArgument, requireSettings, type SyncStateBackend, systemClock } from '../../engine.js'
import type { Clock, StateBackend } from '../../index.js'
import { syncBackend } from '../shared/backend.js'
import { KeySpace } from '../shared/key-space.js'
import { decodedValue, encodedValue } from '../shared/stored-value.js'

const DAY_MS = 86_400_000

export interface SessionStoreOptions {
  /** A backend that is synchronous; it stays the caller's to close. */
  readonly backend: StateBackend
  /** Keeps sessions apart from what else is in the backend; without zero bytes. Default `'session'`. */
  readonly prefix?: string
  /** Life of a session whose cookie has no end, in milliseconds; positive or Infinity. Default a day. */
  readonly ttlMs?: number
  /** What tells how long a cookie still lives. Default: the machine's; where the backend was given one, the same. */
  readonly clock?: Clock
}

/** What is read of a session. */
export interface SessionData {
  readonly cookie?: { readonly expires?: Date | string | false | null | undefined } | undefined
}

/** Called with an error, or with `null` and what was asked for, in a later turn of the event loop. */
export type SessionCallback<Result = undefined> = (error: unknown, result?: Result) => void

/** The calls that express-session makes of a store; `get` and `all` give sessions as they were set. */
export interface SessionStoreCalls {
  get(id: string, callback: SessionCallback<SessionData>): void
  set(id: string, session: SessionData, callback?: SessionCallback): void
  touch(id: string, session: SessionData, callback?: SessionCallback): void
  destroy(id: string, callback?: SessionCallback): void
  all(callback: SessionCallback<{ [id: string]: SessionData }>): void
  length(callback: SessionCallback<number>): void
  clear(callback?: SessionCallback): void
}

/**
 * A store for express-session, whose module (or `Store` class) is passed in. A session lives as long as its cookie, or `ttlMs` where that
 * has no end, and is removed afterwards; `touch` prolongs it, and never brings one back that was destroyed meanwhile. On LMDB
 * sessions are there again after a restart.
 *
 * @example
 * app.use(session({ secret, resave: false, saveUninitialized: false, store: sessionStore(session, { backend }) }))
 */
export function sessionStore<Base extends object>(
  session: { readonly Store: abstract new () => Base },
  options: SessionStoreOptions,
): Base & SessionStoreCalls {
  if (typeof session?.Store !== 'function') throw invalidArgument('session', 'must be express-session')
  const sessions = new Sessions(options)
  // Its types call the class abstract, for want of the calls that are added below.
  const store = new (session.Store as new () => Base)()
  const calls: SessionStoreCalls = {
    get: (id, callback) => answer(callback, () => sessions.get(id)),
    set: (id, data, callback) => answer(callback, () => sessions.set(id, data)),
    touch: (id, data, callback) => answer(callback, () => sessions.touch(id, data)),
    destroy: (id, callback) => answer(callback, () => sessions.destroy(id)),
    all: (callback) => answer(callback, async () => await sessions.all()),
    length: (callback) => answer(callback, async () => await sessions.count()),
    clear: (callback) => answer(callback, async () => await sessions.clear()),
  }
  return Object.assign(store, calls)
}

/** Does the work at once, as far as it is synchronous, and calls back later. Without a callback, nobody hears of a failure. */
function answer<Result>(
  callback: SessionCallback<Result> | undefined,
  work: () => Result | undefined | Promise<Result | undefined>,
): void {
  const settle = (error: unknown, result?: Result) => {
    // An error that the callback throws is the caller's, and not a failure of the work.
    if (typeof callback === 'function') setImmediate(callback, error, result)
  }
  try {
    Promise.resolve(work()).then((result) => settle(null, result), settle)
  } catch (error) {
    settle(error)
  }
}

const decoder = new TextDecoder('utf-8', { ignoreBOM: true })

class Sessions {
  readonly #backend: SyncStateBackend
  readonly #space: KeySpace
  readonly #ttlMs: number
  readonly #clock: Clock

  constructor(options: SessionStoreOptions) {
    requireSettings(options)
    const { backend, prefix = 'session', ttlMs = DAY_MS, clock = systemClock } = options
    this.#backend = syncBackend(backend)
    this.#space = new KeySpace(prefix)
    if (typeof ttlMs !== 'number' || !(ttlMs > 0)) {
      throw invalidArgument('options.ttlMs', 'must be a positive number of milliseconds or Infinity')
    }
    this.#ttlMs = ttlMs
    this.#clock = clock
  }

  get(id: string): SessionData | undefined {
    return read(this.#backend.getSync(this.#space.storedText(id)))
  }

  set(id: string, session: SessionData): undefined {
    const stored = this.#space.storedText(id)
    const lifeMs = this.#lifeOf(session)
    if (lifeMs > 0) this.#backend.putSync(stored, encodedValue(JSON.stringify(session)), { ttlMs: lifeMs })
    else this.#backend.deleteSync(stored)
  }

  /** Takes only the cookie over: what another request has set meanwhile stays. */
  touch(id: string, { cookie }: SessionData): undefined {
    const current = this.get(id)
    if (current !== undefined) this.set(id, { ...current, cookie })
  }

  destroy(id: string): undefined {
    this.#backend.deleteSync(this.#space.storedText(id))
  }

  async all(): Promise<{ [id: string]: SessionData }> {
    // Ids are whatever clients send that was signed: `__proto__` is one like others.
    const sessions: { [id: string]: SessionData } = Object.create(null)
    for await (const [key, value] of this.#backend.scan(this.#space.range())) {
      const session = read(value)
      if (session !== undefined) sessions[decoder.decode(this.#space.own(key))] = session
    }
    return sessions
  }

  async count(): Promise<number> {
    let count = 0
    for await (const _ of this.#backend.scan(this.#space.range())) count++
    return count
  }

  async clear(): Promise<undefined> {
    await this.#backend.deleteRange(this.#space.range())
  }

  #lifeOf({ cookie }: SessionData): number {
    const expires = cookie?.expires
    // `false` is what express-session documents for a cookie that ends with the browser.
    if (!expires) return this.#ttlMs
    const endMs = new Date(expires).getTime()
    return Number.isNaN(endMs) ? this.#ttlMs : endMs - this.#clock.now()
  }
}

function read(value: Uint8Array | undefined): SessionData | undefined {
  const text = decodedValue(value)
  return text === undefined ? undefined : (JSON.parse(text as string) as SessionData)
}
