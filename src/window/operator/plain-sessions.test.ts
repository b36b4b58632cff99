import fc from 'fast-check'
import { describe, expect, it, vi } from 'vitest'
import { MemoryStateBackend } from '../../memory/memory-state-backend.js'
import { utf8 } from '../../state/codec/byte-strings.js'
import { float64 } from '../../state/codec/numbers.js'
import { defineState } from '../../state/schema/define-state.js'
import { StateStore } from '../../state/store.js'
import { combined, count, first, last, sum } from '../aggregate/ready-made.js'
import { session } from '../assign/by-key.js'
import { windowed } from '../windowed.js'
import { KeyTable } from './key-table.js'
import { ListedOperator, listedStates } from './listed-operator.js'
import { PlainSessions } from './plain-sessions.js'
import { WindowList } from './window-list.js'
import type { ErasedWindows, WindowOperator, WindowOperatorOptions } from './window-operator.js'

interface Event {
  readonly key: string
  readonly at: number
  readonly value: number
}

const numRuns = process.env['HOLDFAST_LONG'] === '1' ? 2_000 : 100

/** Sessions, kept by one of the two operators that can. */
class Sessions {
  readonly told: unknown[] = []
  watermarkMs = -Infinity
  operator!: WindowOperator
  store!: { readonly w: { get(key: string): unknown } }
  readonly #backend = new MemoryStateBackend()
  readonly #make: (options: WindowOperatorOptions) => WindowOperator
  readonly #definition: ErasedWindows

  constructor(make: (options: WindowOperatorOptions) => WindowOperator, gapMs: number) {
    this.#make = make
    this.#definition = windowed<Event, string, unknown, unknown>({
      windows: session({ gapMs }),
      aggregate: combined({
        events: count(),
        sum: sum((event: Event) => event.value),
        first: first(float64, (event: Event) => event.value),
        last: last(float64, (event: Event) => event.value),
      }),
      onLate: (late) => late,
    }) as never
  }

  async open(): Promise<this> {
    this.flush()
    const schema = defineState({ key: utf8, states: listedStates('w', this.#definition) as never })
    const store = await StateStore.open(this.#backend, schema)
    this.store = store as never
    this.operator = this.#make({
      store,
      name: 'w',
      definition: this.#definition,
      emit: (output) => void this.told.push(output),
      nowMs: () => 0,
    })
    for (const _ of this.operator.restore(this.watermarkMs));
    return this
  }

  add({ key, at, value }: Event): boolean {
    try {
      this.operator.add(key, { key, at, value }, at, this.watermarkMs)
      return true
    } catch (error) {
      this.told.push(String(error))
      return false
    }
  }

  advance(watermarkMs: number): void {
    if (watermarkMs <= this.watermarkMs) return
    this.watermarkMs = watermarkMs
    for (const _ of this.operator.advance(watermarkMs));
  }

  flush(): void {
    if (this.operator !== undefined) for (const _ of this.operator.flush());
  }

  async close(): Promise<number> {
    this.flush()
    const left = await this.#backend.count()
    await this.#backend.close()
    return left
  }
}

async function both(gapMs: number): Promise<readonly [Sessions, Sessions]> {
  const plain = new Sessions((options) => new PlainSessions(options), gapMs)
  const listed = new Sessions((options) => new ListedOperator(options), gapMs)
  return [await plain.open(), await listed.open()]
}

describe('sessions that fire once', () => {
  it('agree with those that are kept as lists: results, late events, what is shown and what is stored', async () => {
    const step = fc.record({
      key: fc.constantFrom('a', 'b', 'longer than b', ''),
      afterMs: fc.integer({ min: -40, max: 30 }),
      value: fc.oneof({ weight: 12, arbitrary: fc.integer({ min: -9, max: 9 }) }, fc.constant(Number.NaN)),
      next: fc.constantFrom(
        'add',
        'add',
        'add',
        'add',
        'advance',
        'advance',
        'revert',
        'flush',
        'open',
        'peek',
      ),
    })
    const gap = fc.integer({ min: 1, max: 25 })
    await fc.assert(
      fc.asyncProperty(
        gap,
        fc.nat({ max: 50 }),
        fc.array(step, { maxLength: 60 }),
        async (gapMs, disorderMs, steps) => {
          const [plain, listed] = await both(gapMs)
          let highestMs = 0
          for (const { key, afterMs, value, next } of steps) {
            const at = highestMs + afterMs
            const entered = [plain, listed].map((each) => each.add({ key, at, value }))
            if (entered[0] === true) highestMs = Math.max(highestMs, at)
            for (const each of [plain, listed]) {
              if (next === 'advance') each.advance(highestMs - disorderMs - 1)
              if (next === 'revert' && entered[0] === true) each.operator.revert()
              if (next === 'flush') each.flush()
              if (next === 'open') await each.open()
              if (next === 'peek') each.told.push(each.operator.peek(key))
            }
            if (next === 'flush' || next === 'open')
              expect(plain.store.w.get(key)).toEqual(listed.store.w.get(key))
          }
          for (const each of [plain, listed]) each.advance(Infinity)
          expect(plain.told).toEqual(listed.told)
          expect(plain.operator.late).toEqual(listed.operator.late)
          expect(await plain.close()).toBe(1)
          expect(await listed.close()).toBe(1)
        },
      ),
      { numRuns },
    )
  })

  it('of a key that has several are put out also where it was due in vain before', async () => {
    const [plain] = await both(2)
    for (const at of [0, 4, 1]) plain.add({ key: 'a', at, value: at })
    plain.advance(1)
    expect(plain.told).toEqual([])
    plain.advance(Infinity)
    expect(plain.told).toMatchObject([
      { window: { startMs: 0, endMs: 3 } },
      { window: { startMs: 4, endMs: 6 } },
    ])
    expect(await plain.close()).toBe(1)
  })

  it('W6: of which one key has many cost what changes of them, in whatever order they come', async () => {
    const many = process.env['HOLDFAST_LONG'] === '1' ? 10_000 : 1_000
    const [plain] = await both(10)
    const reads = vi.spyOn(WindowList.prototype, 'load')
    try {
      for (let i = 0; i < many; i++) plain.add({ key: 'a', at: ((i * 7_919) % many) * 30, value: 1 })
      for (let i = 0; i < many; i++) plain.add({ key: 'a', at: i * 30 + 5, value: i })
      for (let endMs = 0; endMs < 3_000; endMs += 30) plain.advance(endMs)
      plain.advance(Infinity)
      // Each was due once, and none was read to look for another one.
      expect(reads).not.toHaveBeenCalled()
    } finally {
      reads.mockRestore()
    }
    expect(plain.told).toHaveLength(many)
    expect(plain.told.at(-1)).toMatchObject({
      window: { startMs: (many - 1) * 30, endMs: (many - 1) * 30 + 15 },
      value: { events: 2, sum: many, first: 1, last: many - 1 },
    })
    expect(await plain.close()).toBe(1)
  })

  it('W6, W15: of which one key has many cost what changes of them where they are joined, or begin earlier', async () => {
    const many = process.env['HOLDFAST_LONG'] === '1' ? 10_000 : 1_000
    const [plain] = await both(10)
    const reads = vi.spyOn(WindowList.prototype, 'load')
    try {
      for (let i = 0; i < 2 * many; i++) plain.add({ key: 'a', at: i * 20, value: 1 })
      for (let i = 0; i < many; i++) plain.add({ key: 'a', at: i * 40 + 10, value: 2 })
      for (let i = 0; i < many; i++) plain.add({ key: 'a', at: i * 40 - 5, value: 3 })
      expect(plain.operator.open).toBe(many)
      plain.advance(Infinity)
      // What it was called with is much to show.
      expect(reads.mock.calls.length).toBe(0)
    } finally {
      reads.mockRestore()
    }
    expect(plain.told).toHaveLength(many)
    expect(plain.told.at(-1)).toMatchObject({
      window: { startMs: many * 40 - 45, endMs: many * 40 - 10 },
      value: { events: 4, sum: 7, first: 3, last: 1 },
    })
    expect(await plain.close()).toBe(1)
  })

  it('that no cut could name are refused, and the others go on', async () => {
    for (const sessions of await both(10)) {
      const nearMs = Number.MAX_SAFE_INTEGER - 12
      for (const afterMs of [0, 4, 2]) sessions.add({ key: 'a', at: nearMs + afterMs, value: afterMs })
      sessions.add({ key: 'b', at: nearMs + 5, value: 1 })
      await sessions.open()
      sessions.advance(Infinity)
      const refused = expect.stringContaining('too near to the ends of time')
      const window = { startMs: nearMs, endMs: nearMs + 12 }
      expect(sessions.told).toMatchObject([refused, refused, { key: 'a', window, value: { events: 2 } }])
      expect(await sessions.close()).toBe(1)
    }
  })

  it('that go on while most of the others have ended are put out at their end, though their keys are elsewhere in the table', async () => {
    const [plain] = await both(10)
    for (let i = 0; i < 2_000; i++) plain.add({ key: `short ${i}`, at: 0, value: 1 })
    for (const at of [0, 8, 16]) plain.add({ key: 'long', at, value: 1 })
    plain.advance(12)
    expect(plain.told).toHaveLength(2_000)
    plain.advance(24)
    expect(plain.told).toHaveLength(2_000)
    plain.advance(25)
    expect(plain.told.slice(2_000)).toMatchObject([{ key: 'long', window: { startMs: 0, endMs: 26 } }])
    expect(await plain.close()).toBe(1)
  })

  it('that end are brought near before they are looked at, and before they are put out', async () => {
    const [plain] = await both(10)
    for (let i = 0; i < 500; i++) plain.add({ key: `${i}`, at: i % 7, value: 1 })
    let brought = 0
    const { bringEntriesNear } = KeyTable.prototype
    const spy = vi.spyOn(KeyTable.prototype, 'bringEntriesNear').mockImplementation(function (
      this: KeyTable,
      entries,
      from,
      until,
    ) {
      brought += until - from
      bringEntriesNear.call(this, entries, from, until)
    })
    try {
      plain.advance(12)
    } finally {
      spy.mockRestore()
    }
    expect(plain.told).toHaveLength(287)
    expect(brought).toBe(287 * 2)
    expect(await plain.close()).toBeGreaterThan(1)
  })

  it('agree where many end at once, and many of their keys have died', async () => {
    const [plain, listed] = await both(50)
    let at = 0
    for (let round = 0; round < 12; round++) {
      for (let i = 0; i < 600; i++) {
        const key = `${(i * 7_919 + round * 401) % 3_001}`
        const event = { key, at: at + ((i * 31) % 97), value: i }
        for (const each of [plain, listed]) each.add(event)
      }
      at += round % 3 === 2 ? 400 : 60
      for (const each of [plain, listed]) {
        each.advance(at - 20)
        if (round % 4 === 1) each.flush()
        if (round % 5 === 4) await each.open()
      }
    }
    for (const each of [plain, listed]) each.advance(Infinity)
    expect(plain.told.length).toBeGreaterThan(3_000)
    expect(plain.told).toEqual(listed.told)
    expect(await plain.close()).toBe(1)
    expect(await listed.close()).toBe(1)
  })
})
