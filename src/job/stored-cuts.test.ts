import { describe, expect, it } from 'vitest'
import { RemoteServer, ToyBackend } from '../../test/support/remote-engine.js'
import type { StateBackend } from '../backend/state-backend.js'
import { systemClock } from '../base/clock.js'
import { MemoryStateBackend } from '../memory/memory-state-backend.js'
import { RECORD_KEY, StoredCuts } from './stored-cuts.js'

const bytes = (text: string) => new Uint8Array(Buffer.from(text))

/** Cuts in a store whose every read waits, behind what it has found, until it is let go. */
function heldCuts(engine: StateBackend) {
  const reads: (() => void)[] = []
  let hasRead = () => {}
  const read = new Promise<void>((resolve) => {
    hasRead = resolve
  })
  const get = async (key: Uint8Array) => {
    const found = await engine.get(key)
    // Only the first one: what is asked again meets what is there by then.
    if (reads.length > 0) return found
    const released = new Promise<void>((resolve) => reads.push(resolve))
    hasRead()
    await released
    return found
  }
  const held = new Proxy(engine, {
    get: (target, name) => {
      if (name === 'get') return get
      const value: unknown = Reflect.get(target, name)
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
  // Only what the engine is asked matters here.
  const backend = new MemoryStateBackend()
  const cuts = new StoredCuts({
    backend,
    engine: held,
    jobName: 'job',
    intervalMs: 1_000,
    clock: systemClock,
  })
  return { cuts, read, release: () => reads[0]?.() }
}

describe.each([
  ['asynchronous', () => new ToyBackend(new RemoteServer())],
  ['synchronous', () => new MemoryStateBackend()],
])('the look at who owns a store, on an %s engine', (_, open) => {
  it.each([undefined, 'before'])(
    'leaves a record that the job writes meanwhile (there was: %s)',
    async (before) => {
      const engine: StateBackend = open()
      if (before !== undefined) await engine.put(RECORD_KEY, bytes(before))
      const { cuts, read, release } = heldCuts(engine)
      const looking = cuts.checkOwner()
      await read
      await engine.put(RECORD_KEY, bytes('behind'))
      release()
      await looking
      expect(await engine.get(RECORD_KEY)).toEqual(bytes('behind'))
      await engine.close()
    },
  )
})
