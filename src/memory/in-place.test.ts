import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { runs } from '../../test/support/long.js'
import { onRandomRuns } from '../../test/support/random-runs.js'
import type { PutOptions } from '../backend/types.js'
import { WriteBatch } from '../backend/write-batch.js'
import { Slot, type Stretch, type ViewedBytes } from '../base/slot.js'
import { ManualClock } from '../testing/manual-clock.js'
import { MemoryStateBackend } from './memory-state-backend.js'

const bytes = (text: string) => Buffer.from(text)
const shown = (slot: Slot) =>
  Buffer.from(slot.bytes.subarray(slot.offset, slot.offset + slot.length)).toString('latin1')

/** A key in the middle of a larger buffer. */
function within(key: Uint8Array): Stretch {
  return { bytes: Buffer.concat([bytes('before'), key, bytes('after')]), offset: 6, length: key.length }
}

/** A value as writers hold it. */
function viewed(value: Buffer): ViewedBytes {
  return { bytes: value, view: new DataView(value.buffer, value.byteOffset, value.byteLength) }
}

function contentOf(source: Pick<MemoryStateBackend, 'scanSync'>): [string, string][] {
  return Array.from(source.scanSync(), ([key, value]) => [
    Buffer.from(key).toString('latin1'),
    Buffer.from(value).toString('latin1'),
  ])
}

describe('peekSync', () => {
  it('shows a value where it lies, and nothing of what is absent, deleted or expired', async () => {
    const clock = new ManualClock(1_000)
    await using state = new MemoryStateBackend({ clock })
    const slot = new Slot()
    expect(state.peekSync(bytes('k'), slot)).toBe(false)
    state.putSync(bytes('k'), bytes('value'), { ttlMs: 10 })
    expect(state.peekSync(bytes('k'), slot)).toBe(true)
    expect(shown(slot)).toBe('value')
    expect(slot.view.getUint8(slot.offset)).toBe('v'.charCodeAt(0))
    expect(state.peekSync(within(bytes('k')), slot)).toBe(true)
    clock.advance(10)
    expect(state.peekSync(bytes('k'), slot)).toBe(false)
    expect(state.stats()).toMatchObject({ gets: 4, hits: 2, misses: 2 })
  })
})

describe('updateSync', () => {
  it('makes an entry of zeros, then shows it ready to be changed', async () => {
    await using state = new MemoryStateBackend()
    const slot = new Slot()
    for (let round = 0; round < 5; round++) {
      expect(state.updateSync(bytes('count'), 8, slot)).toBe(round > 0)
      expect(slot.length).toBe(8)
      slot.view.setFloat64(slot.offset, slot.view.getFloat64(slot.offset) + 1)
    }
    expect(Buffer.from(state.getSync(bytes('count')) ?? []).readDoubleBE()).toBe(5)
    expect(state.stats()).toMatchObject({ puts: 5, bytesWritten: 5 * 13, entries: 1 })
  })

  it.each([
    ['longer, within its room', 7, 'value\0\0'],
    ['longer, beyond its room', 40, 'value'.padEnd(40, '\0')],
    ['shorter', 2, 'va'],
    ['empty', 0, ''],
  ])('keeps the common head of a value that becomes %s', async (_, length, expected) => {
    await using state = new MemoryStateBackend()
    const slot = new Slot()
    // What was there before must not show up again behind the head.
    state.putSync(bytes('k'), bytes('x'.repeat(12)))
    state.putSync(bytes('k'), bytes('value'))
    expect(state.updateSync(bytes('k'), length, slot)).toBe(true)
    expect(shown(slot)).toBe(expected)
    expect(contentOf(state)).toEqual([['k', expected]])
  })

  it('sets the time to live anew, and begins with zeros where it has ended', async () => {
    const clock = new ManualClock(1_000)
    await using state = new MemoryStateBackend({ clock, ttlMs: 100, sweepIntervalMs: Infinity })
    const expired: string[] = []
    state.on('expired', ({ keys }) => expired.push(...keys.map((key) => Buffer.from(key).toString())))
    const slot = new Slot()
    state.putSync(bytes('k'), bytes('value'))
    clock.advance(60)
    expect(state.updateSync(bytes('k'), 5, slot)).toBe(true)
    clock.advance(60)
    expect(state.updateSync(bytes('k'), 5, slot, { ttlMs: 10 })).toBe(true)
    clock.advance(10)
    expect(state.updateSync(bytes('k'), 5, slot)).toBe(false)
    expect(shown(slot)).toBe('\0'.repeat(5))
    expect(expired).toEqual([])
    state.putSync(bytes('other'), bytes(''))
    expect(expired).toEqual(['k'])
    expect(state.stats().expired).toBe(1)
  })

  it('leaves to an open snapshot what it sees, and tells a base what has changed', async () => {
    await using state = new MemoryStateBackend()
    const slot = new Slot()
    state.putSync(bytes('k'), bytes('old'))
    using snapshot = state.snapshotSync()
    expect(state.updateSync(bytes('k'), 3, slot)).toBe(true)
    slot.bytes.set(bytes('new'), slot.offset)
    expect(contentOf(snapshot)).toEqual([['k', 'old']])
    expect(contentOf(state)).toEqual([['k', 'new']])
    const { offset } = slot
    expect(state.updateSync(bytes('k'), 3, slot)).toBe(true)
    expect(slot.offset, 'no further copy while the same snapshot is open').toBe(offset)
  })

  it('is refused by a full backend with nothing changed', async () => {
    await using state = new MemoryStateBackend({ maxBytes: 64 * 1024 })
    const slot = new Slot()
    state.putSync(bytes('k'), bytes('value'))
    expect(() => state.updateSync(bytes('k'), 60_000, slot)).toThrow(
      expect.objectContaining({ code: 'BACKEND_FULL' }),
    )
    expect(contentOf(state)).toEqual([['k', 'value']])
    expect(state.stats().puts).toBe(1)
  })

  it('is not moved by maintenance until the next call', async () => {
    const clock = new ManualClock(1_000)
    await using state = new MemoryStateBackend({ clock })
    const slot = new Slot()
    const moved: number[] = []
    // Lengths that change append, so compaction has much to do, and some entries expire at once.
    for (let i = 0; i < 40_000; i++) {
      const length = 8 + ((i * 7_919) % 400)
      state.updateSync(bytes(`k${(i * 104_729) % 500}`), length, slot, { ttlMs: 1 + (i % 50) })
      slot.bytes.fill(i & 0xff, slot.offset, slot.offset + length)
      const again = new Slot()
      const isThere = state.peekSync(bytes(`k${(i * 104_729) % 500}`), again)
      if (!isThere || again.offset !== slot.offset || again.bytes !== slot.bytes) moved.push(i)
      if (i % 100 === 0) clock.advance(1)
    }
    expect(moved).toEqual([])
  })

  it('does what getSync and putSync do', () => {
    const key = fc.integer({ min: 0, max: 7 }).map((number) => bytes(`key${number}`))
    const length = fc.oneof(fc.integer({ min: 0, max: 40 }), fc.constant(8))
    const action = fc.oneof(
      {
        weight: 6,
        arbitrary: fc.record({ kind: fc.constant('update' as const), key, length, ttl: fc.boolean() }),
      },
      { weight: 2, arbitrary: fc.record({ kind: fc.constant('delete' as const), key }) },
      { weight: 1, arbitrary: fc.record({ kind: fc.constant('snapshot' as const) }) },
      { weight: 1, arbitrary: fc.record({ kind: fc.constant('close' as const) }) },
      {
        weight: 2,
        arbitrary: fc.record({ kind: fc.constant('advance' as const), ms: fc.integer({ min: 1, max: 9 }) }),
      },
    )
    fc.assert(
      fc.property(fc.array(action, { maxLength: 80 }), (actions) => {
        const clock = new ManualClock(1_000)
        const own = new MemoryStateBackend({ clock })
        const other = new MemoryStateBackend({ clock })
        const snapshots: { own: Pick<MemoryStateBackend, 'scanSync'>; content: [string, string][] }[] = []
        const slot = new Slot()
        for (const [at, each] of actions.entries()) {
          if (each.kind === 'update') {
            const options = each.ttl ? { ttlMs: 10 } : undefined
            const before = other.getSync(each.key)
            const value = Buffer.alloc(each.length)
            Buffer.from(before ?? []).copy(value)
            expect(own.updateSync(within(each.key), each.length, slot, options)).toBe(before !== undefined)
            expect(shown(slot)).toBe(value.toString('latin1'))
            value.fill(at & 0xff, 0, Math.min(4, each.length))
            slot.bytes.set(value, slot.offset)
            other.putSync(each.key, value, options)
          } else if (each.kind === 'delete') {
            own.deleteSync(within(each.key))
            other.deleteSync(each.key)
          } else if (each.kind === 'snapshot') {
            snapshots.push({ own: own.snapshotSync(), content: contentOf(other) })
          } else if (each.kind === 'close') {
            void own.snapshotSync().close()
            snapshots.shift()
          } else {
            clock.advance(each.ms)
          }
          expect(contentOf(own)).toEqual(contentOf(other))
          for (const snapshot of snapshots) expect(contentOf(snapshot.own)).toEqual(snapshot.content)
        }
      }),
      { numRuns: 100 },
    )
  })

  it.each([
    ['a length that is negative', -1],
    ['a length that is a fraction', 1.5],
    ['a length above the limit', 64 * 1024 * 1024 + 1],
  ])('refuses %s', async (_, length) => {
    await using state = new MemoryStateBackend()
    expect(() => state.updateSync(bytes('k'), length, new Slot())).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT' }),
    )
  })
})

describe('a key as a stretch', () => {
  it('is taken by every call of the hot path, and refused where it passes its bytes', async () => {
    await using state = new MemoryStateBackend()
    const key = within(bytes('k'))
    state.putSync(key, bytes('value'))
    expect(Buffer.from(state.getSync(key) ?? []).toString()).toBe('value')
    expect(state.containsSync(key)).toBe(true)
    expect(contentOf(state)).toEqual([['k', 'value']])
    state.deleteSync(key)
    expect(state.containsSync(key)).toBe(false)
    for (const wrong of [{ offset: 12 }, { offset: -1 }, { length: 7 }, { offset: 0.5 }]) {
      expect(() => state.getSync({ ...key, ...wrong }), JSON.stringify(wrong)).toThrow(
        expect.objectContaining({ code: 'INVALID_ARGUMENT' }),
      )
    }
  })

  it('that lies in a slot is the one of the call, though a listener that the call tells fills the slot anew', async () => {
    const clock = new ManualClock()
    await using state = new MemoryStateBackend({ clock, sweepIntervalMs: Infinity })
    const slot = new Slot()
    state.putSync(bytes('index'), bytes('meant'))
    state.putSync(bytes('other'), bytes('wrong'))
    state.putSync(bytes('old'), bytes('12345678'), { ttlMs: 1 })
    state.on('expired', () => state.peekSync(bytes('other'), slot))
    clock.advance(1)
    state.updateSync(bytes('old'), 8, new Slot()) // its listener is told by the next call
    state.peekSync(bytes('index'), slot)
    state.updateSync(slot, 8, slot)
    expect(state.containsSync(bytes('meant'))).toBe(true)
    expect(state.containsSync(bytes('wrong'))).toBe(false)
  })
})

describe('a key that is looked at and then written', () => {
  /** What may come between, so that the place that was found is not the place any more. */
  const between: { readonly [name: string]: (state: MemoryStateBackend, clock: ManualClock) => void } = {
    nothing: () => {},
    'a put of the key': (state) => state.putSync(bytes('a'), bytes('a longer value than before')),
    'its removal': (state) => state.deleteSync(bytes('a')),
    'its removal and its return': (state) => {
      state.deleteSync(bytes('a'))
      state.putSync(bytes('a'), bytes('back'))
    },
    'the removal of all': (state) => state.deleteRangeSync({}),
    'many others, so that the index grows': (state) => {
      for (let i = 0; i < 200; i++) state.putSync(bytes(`other ${i}`), bytes('x'))
    },
    'a look at another': (state) => state.peekSync(bytes('b'), new Slot()),
    'a batch': (state) => state.writeSync(new WriteBatch().delete(bytes('a')).put(bytes('c'), bytes('1'))),
    'its expiry': (state, clock) => {
      clock.advance(1_000)
      state.putSync(bytes('c'), bytes('1'))
    },
    'a snapshot': (state) => void state.snapshotSync(),
  }

  it.each(Object.entries(between))('is where it belongs, after %s', (_, come) => {
    const clock = new ManualClock()
    for (const isThere of [true, false]) {
      const state = new MemoryStateBackend({ clock, sweepIntervalMs: Infinity })
      const plain = new MemoryStateBackend({ clock, sweepIntervalMs: Infinity })
      for (const each of [state, plain]) {
        each.putSync(bytes('b'), bytes('2'))
        if (isThere) each.putSync(bytes('a'), bytes('1'), { ttlMs: 500 })
      }
      const slot = new Slot()
      expect(state.peekSync(bytes('a'), slot)).toBe(isThere)
      for (const each of [state, plain]) {
        come(each, clock)
        each.updateSync(bytes('a'), 2, slot)
        slot.bytes[slot.offset] = 65
        slot.bytes[slot.offset + 1] = 66
      }
      expect(Buffer.from(state.getSync(bytes('a')) ?? []).toString()).toBe('AB')
      expect(contentOf(state)).toEqual(contentOf(plain))
      expect(state.stats().entries).toBe(plain.stats().entries)
    }
  })

  it.each(Object.entries(between))(
    'is written back where it belongs or not at all, after %s',
    (name, come) => {
      const clock = new ManualClock()
      const state = new MemoryStateBackend({ clock, sweepIntervalMs: Infinity })
      const plain = new MemoryStateBackend({ clock, sweepIntervalMs: Infinity })
      for (const each of [state, plain]) {
        each.putSync(bytes('b'), bytes('2'))
        each.putSync(bytes('a'), bytes('1'))
      }
      const slot = new Slot()
      expect(state.peekSync(bytes('a'), slot)).toBe(true)
      for (const each of [state, plain]) come(each, clock)
      const isWritten = state.writeBackSync(slot, viewed(bytes('3')), 1)
      expect(isWritten).toBe(name === 'nothing')
      if (!isWritten) state.putSync(bytes('a'), bytes('3'))
      plain.putSync(bytes('a'), bytes('3'))
      expect(contentOf(state)).toEqual(contentOf(plain))
      const { puts, bytesWritten } = plain.stats()
      expect(state.stats()).toMatchObject({ puts, bytesWritten })
    },
  )

  it('is not written back where it begins to expire or stops to, has another length, or is not there', () => {
    const state = new MemoryStateBackend({ clock: new ManualClock(), sweepIntervalMs: Infinity })
    const slot = new Slot()
    state.putSync(bytes('a'), bytes('1'), { ttlMs: 1_000 })
    state.putSync(bytes('b'), bytes('2'))
    state.peekSync(bytes('a'), slot)
    expect(state.writeBackSync(slot, viewed(bytes('3')), 1)).toBe(false)
    state.peekSync(bytes('b'), slot)
    expect(state.writeBackSync(slot, viewed(bytes('3')), 1, { ttlMs: 1_000 })).toBe(false)
    state.peekSync(bytes('b'), slot)
    expect(state.writeBackSync(slot, viewed(bytes('33')), 2)).toBe(false)
    expect(state.peekSync(bytes('c'), slot)).toBe(false)
    expect(state.writeBackSync(slot, viewed(bytes('3')), 1)).toBe(false)
    expect(contentOf(state)).toEqual([
      ['a', '1'],
      ['b', '2'],
    ])
  })

  it('is written back where it expires, and does so as much later; not where it has expired, or is to expire sooner', () => {
    const clock = new ManualClock()
    const state = new MemoryStateBackend({ clock, ttlMs: 1_000, sweepIntervalMs: Infinity })
    const slot = new Slot()
    const peeked = () => state.peekSync(bytes('a'), slot)
    const writtenBack = (value: string, options?: PutOptions) =>
      state.writeBackSync(slot, viewed(bytes(value)), 1, options)
    state.putSync(bytes('a'), bytes('1'))
    clock.advance(600)
    expect(peeked()).toBe(true)
    expect(writtenBack('2')).toBe(true)
    clock.advance(600)
    expect(contentOf(state)).toEqual([['a', '2']])
    expect(peeked()).toBe(true)
    expect(writtenBack('3', { ttlMs: 399 })).toBe(false)
    clock.advance(400)
    expect(writtenBack('3')).toBe(false)
    expect(peeked()).toBe(false)
    expect(contentOf(state)).toEqual([])
  })

  it('does not change when another key expires than the one that the slot shows', () => {
    const clock = new ManualClock()
    const state = new MemoryStateBackend({ clock, sweepIntervalMs: Infinity })
    const [slot, other] = [new Slot(), new Slot()]
    for (const key of ['a', 'b']) state.putSync(bytes(key), bytes('1'), { ttlMs: 1_000 })
    state.peekSync(bytes('a'), slot)
    state.peekSync(bytes('b'), other)
    clock.advance(500)
    expect(state.writeBackSync(slot, viewed(bytes('2')), 1, { ttlMs: 1_000 })).toBe(false)
    clock.advance(500)
    expect(contentOf(state)).toEqual([])
  })

  it('is put once since a base that wants to be told of it, and written back from then on', () => {
    const state = new MemoryStateBackend({ sweepIntervalMs: Infinity })
    const slot = new Slot()
    state.putSync(bytes('a'), bytes('1'))
    const first = state.snapshotSync({ track: true })
    const { base } = first
    first.closeSync()
    for (const value of ['2', '3']) {
      state.peekSync(bytes('a'), slot)
      // The first change since the base is for a put to see to.
      const isWritten = state.writeBackSync(slot, viewed(bytes(value)), 1)
      expect(isWritten).toBe(value === '3')
      if (!isWritten) state.putSync(bytes('a'), bytes(value))
    }
    const second = state.snapshotSync({ track: true, since: base as never })
    expect(second.tellsChanges).toBe(true)
    second.closeSync()
    expect(contentOf(state)).toEqual([['a', '3']])
  })

  it('keeps its value whole where what is to be written back is no value, or has fewer bytes than it says', () => {
    const refused = expect.objectContaining({ code: 'INVALID_ARGUMENT' })
    for (const length of [8, 200]) {
      const state = new MemoryStateBackend({ sweepIntervalMs: Infinity })
      const slot = new Slot()
      const was = '1'.repeat(length)
      state.putSync(bytes('a'), bytes(was))
      const content = () => Buffer.from(state.getSync(bytes('a')) ?? []).toString()
      const fewer = viewed(bytes('3'.repeat(length - 2)))
      const whole = viewed(bytes('3'.repeat(length)))
      const wrong: unknown[] = [
        fewer,
        { ...whole, view: fewer.view },
        undefined,
        null,
        {},
        { bytes: whole.bytes },
        was,
      ]
      for (const value of wrong) {
        state.peekSync(bytes('a'), slot)
        expect(() => state.writeBackSync(slot, value as ViewedBytes, length)).toThrow(refused)
        expect(content()).toBe(was)
      }
      expect(() => state.writeBackSync(undefined as never, whole, length)).toThrow(refused)
      expect(() => state.writeBackSync(slot, whole, length - 0.5)).toThrow(refused)
      state.peekSync(bytes('a'), slot)
      expect(state.writeBackSync(slot, whole, length)).toBe(true)
      expect(content()).toBe('3'.repeat(length))
    }
  })

  it('is not written back to a backend that is closed', async () => {
    const state = new MemoryStateBackend()
    const slot = new Slot()
    state.putSync(bytes('a'), bytes('1'))
    state.peekSync(bytes('a'), slot)
    await state.close()
    expect(() => state.writeBackSync(slot, viewed(bytes('3')), 1)).toThrow(
      expect.objectContaining({ code: 'CLOSED' }),
    )
  })

  it('is found whatever was done to it, in any order', async () => {
    const step = fc.tuple(
      fc.constantFrom('peek', 'writeBack', 'update', 'put', 'delete', 'snapshot', 'expire'),
      fc.constantFrom('a', 'b', 'bb'),
    )
    await onRandomRuns(
      fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
        const clock = new ManualClock()
        const state = new MemoryStateBackend({ clock, sweepIntervalMs: Infinity })
        const model = new Map<string, string>()
        const slot = new Slot()
        const peeked = new Slot()
        let peekedName = ''
        for (const [i, [what, name]] of steps.entries()) {
          const key = bytes(name)
          const value = String(i).padStart((i % 3) * 30, '.')
          if (what === 'peek') {
            expect(state.peekSync(key, peeked)).toBe(model.has(name))
            peekedName = name
          } else if (what === 'writeBack') {
            const length = model.get(peekedName)?.length ?? 0
            const written = String(i).padStart(length, '.').slice(-length)
            // Where what is there was put for ever, which is all that the model knows, nothing is written.
            expect(state.writeBackSync(peeked, viewed(bytes(written)), length, { ttlMs: 1 })).toBe(false)
            if (state.writeBackSync(peeked, viewed(bytes(written)), length)) model.set(peekedName, written)
          } else if (what === 'update') {
            state.updateSync(key, value.length, slot)
            slot.bytes.set(bytes(value), slot.offset)
            model.set(name, value)
          } else if (what === 'put') {
            state.putSync(key, bytes(value))
            model.set(name, value)
          } else if (what === 'delete') {
            state.deleteSync(key)
            model.delete(name)
          } else if (what === 'snapshot') {
            state.snapshotSync().closeSync()
          } else {
            state.putSync(key, bytes(value), { ttlMs: 1 })
            clock.advance(1)
            model.delete(name)
          }
        }
        expect(contentOf(state)).toEqual([...model].sort(([left], [right]) => (left < right ? -1 : 1)))
        await state.close()
      }),
      { runs: runs(2_000, 200) },
    )
  })
})
