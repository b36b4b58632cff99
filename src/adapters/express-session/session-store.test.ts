import { EventEmitter } from 'node:events'
import { describe, expect, it } from 'vitest'
import { MemoryStateBackend } from '../../memory/memory-state-backend.js'
import { ManualClock } from '../../testing/manual-clock.js'
import { type SessionCallback, type SessionStoreOptions, sessionStore } from './session-store.js'

function open(options: Omit<SessionStoreOptions, 'backend'> = {}) {
  const clock = new ManualClock()
  const backend = new MemoryStateBackend({ clock })
  const store = sessionStore({ Store: EventEmitter }, { backend, clock, ...options })
  const until = (afterMs: number) => ({ cookie: { expires: new Date(clock.now() + afterMs) } })
  return { clock, backend, store, until }
}

function called<Result>(call: (callback: SessionCallback<Result>) => void): Promise<Result | undefined> {
  return new Promise((resolve, reject) => {
    call((error, result) => (error === null ? resolve(result) : reject(error)))
  })
}

/** As the types of express-session say it. */
abstract class DeclaredStore extends EventEmitter {
  abstract get(sid: string, callback: (err: unknown, session?: DeclaredData | null) => void): void
  abstract set(sid: string, session: DeclaredData, callback?: (err?: unknown) => void): void
  abstract destroy(sid: string, callback?: (err?: unknown) => void): void
  all?(callback: (err: unknown, obj?: DeclaredData[] | { [sid: string]: DeclaredData } | null) => void): void
  length?(callback: (err: unknown, length?: number) => void): void
  clear?(callback?: (err?: unknown) => void): void
  touch?(sid: string, session: DeclaredData, callback?: () => void): void
}
interface DeclaredData {
  cookie: { originalMaxAge: number | null; expires?: Date | null | undefined }
}

describe('a store for express-session', () => {
  it('is one by the types of express-session, which call its class abstract', async () => {
    const backend = new MemoryStateBackend()
    const store = sessionStore({ Store: DeclaredStore }, { backend })
    expect(store).toBeInstanceOf(DeclaredStore)
    store.set('id', { cookie: {} })
    expect(await called((callback) => store.get('id', callback))).toEqual({ cookie: {} })
    const ofThem: DeclaredStore = store
    expect(ofThem.listenerCount('connect')).toBe(0)
    await backend.close()
  })

  it('keeps sessions as long as their cookies live, and those without an end for its own time', async () => {
    const { clock, backend, store, until } = open({ ttlMs: 5_000 })
    store.set('short', { ...until(1_000), user: 1 } as object)
    store.set('endless', { cookie: { expires: null } })
    expect(await called((callback) => store.get('short', callback))).toMatchObject({ user: 1 })
    clock.advance(1_000)
    expect(await called((callback) => store.get('short', callback))).toBeUndefined()
    expect(await called((callback) => store.length(callback))).toBe(1)
    clock.advance(4_000)
    expect(await called<object>((callback) => store.all(callback))).toEqual({})
    await expect.poll(() => backend.stats().entries).toBe(0)
    await backend.close()
  })

  it.each([false, null, undefined, ''] as const)(
    'keeps a session of the browser, whose cookie ends with %j, for its own time',
    async (expires) => {
      const { clock, backend, store } = open({ ttlMs: 5_000 })
      const session = { cookie: { expires }, user: 1 }
      store.set('id', session)
      clock.advance(4_000)
      store.touch('id', session)
      clock.advance(4_999)
      expect(await called((callback) => store.get('id', callback))).toMatchObject({ user: 1 })
      clock.advance(1)
      expect(await called((callback) => store.get('id', callback))).toBeUndefined()
      await backend.close()
    },
  )

  it('prolongs a session by a touch without what another request has set being lost', async () => {
    const { clock, backend, store, until } = open()
    const old = { ...until(1_000), count: 1 } as object
    store.set('id', old)
    store.set('id', { ...until(1_000), count: 2 } as object)
    store.touch('id', { ...old, ...until(9_000) })
    clock.advance(8_000)
    expect(await called((callback) => store.get('id', callback))).toMatchObject({ count: 2 })
    await backend.close()
  })

  it('brings nothing back by a touch of what was destroyed, and ends what is set with a past end', async () => {
    const { backend, store, until } = open()
    store.set('id', until(1_000))
    store.destroy('id')
    store.touch('id', until(1_000))
    expect(await called((callback) => store.get('id', callback))).toBeUndefined()
    store.set('id', until(1_000))
    store.set('id', until(-1))
    expect(await called((callback) => store.get('id', callback))).toBeUndefined()
    await backend.close()
  })

  it('lists and clears its own sessions, whatever their ids are', async () => {
    const { backend, store, until } = open()
    const other = sessionStore({ Store: EventEmitter }, { backend, prefix: 'session2' })
    other.set('id', { cookie: {} })
    for (const id of ['__proto__', 'a', '']) store.set(id, until(1_000))
    const all = await called<object>((callback) => store.all(callback))
    expect(Object.keys(all as object)).toEqual(['', '__proto__', 'a'])
    await called((callback) => store.clear(callback))
    expect(await called((callback) => store.length(callback))).toBe(0)
    expect(await called((callback) => other.length(callback))).toBe(1)
    await backend.close()
  })

  it('calls back later, once, and with what went wrong', async () => {
    const { backend, store } = open()
    let isLater = false
    const answered = called((callback) =>
      store.get('id', (...args) => {
        expect(isLater).toBe(true)
        callback(...args)
      }),
    )
    isLater = true
    await answered
    await backend.close()
    await expect(called((callback) => store.set('id', { cookie: {} }, callback))).rejects.toMatchObject({
      code: 'CLOSED',
    })
    // Nobody is told; nothing is thrown either.
    store.set('id', { cookie: {} })
  })

  it('refuses a life that is none', () => {
    expect(() => open({ ttlMs: 0 })).toThrow('options.ttlMs')
  })
})
