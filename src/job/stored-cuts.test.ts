import { describe, expect, it } from 'vitest'
import { RemoteServer, ToyBackend } from '../../test/support/remote-engine.js'
import type { StateBackend } from '../backend/state-backend.js'
import { systemClock } from '../base/clock.js'
import { MemoryStateBackend } from '../memory/memory-state-backend.js'
import { RECORD_KEY, StoredCuts } from './stored-cuts.js'

const bytes = (text: string) => new Uint8Array(Buffer.from(text))

/** Cuts in a store that takes each write of theirs only when it is let go: it may be one of an attempt that was given up. */
function heldCuts(engine: StateBackend) {
  let writes = 0
  let letGo = () => {}
  const released = new Promise<void>((resolve) => {
    letGo = resolve
  })
  const write: StateBackend['write'] = async (batch) => {
    writes++
    await released
    await engine.write(batch)
  }
  const held = new Proxy(engine, {
    get: (target, name) => {
      if (name === 'write') return write
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
  return { cuts, letGo, writes: () => writes }
}

describe.each([
  ['asynchronous', () => new ToyBackend(new RemoteServer())],
  ['synchronous', () => new MemoryStateBackend()],
])('the look at who owns a store, on an %s engine', (kind, open) => {
  it.each([undefined, 'before'])(
    'leaves a record that the job writes meanwhile, and ends (there was: %s)',
    async (before) => {
      const engine: StateBackend = open()
      if (before !== undefined) await engine.put(RECORD_KEY, bytes(before))
      const { cuts, letGo, writes } = heldCuts(engine)
      const looking = cuts.checkOwner()
      await engine.put(RECORD_KEY, bytes('behind'))
      letGo()
      await looking
      expect(await engine.get(RECORD_KEY)).toEqual(bytes('behind'))
      expect(await engine.count()).toBe(1)
      // However often the job writes, it is asked once.
      expect(writes()).toBe(kind === 'asynchronous' ? 1 : 0)
      await engine.close()
    },
  )
})
