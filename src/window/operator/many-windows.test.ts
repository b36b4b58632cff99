import { expect, it, vi } from 'vitest'
import { MemoryStateBackend } from '../../memory/memory-state-backend.js'
import { utf8 } from '../../state/codec/byte-strings.js'
import { json } from '../../state/codec/json.js'
import { float64 } from '../../state/codec/numbers.js'
import { defineState } from '../../state/schema/define-state.js'
import { StateStore } from '../../state/store.js'
import { distinctCount } from '../aggregate/distinct.js'
import { combined, count, sum } from '../aggregate/ready-made.js'
import { hopping } from '../assign/assigner.js'
import { session, sliding } from '../assign/by-key.js'
import { type WindowOptions, windowed } from '../windowed.js'
import { openWindows, statesOfWindows } from './open-windows.js'

// What an event of a key costs that has many windows open: in looks at windows and in bytes that are copied, not by the clock.

interface Event {
  readonly at: number
  readonly value: number
}

const sums = combined({ events: count(), sum: sum((event: Event) => event.value) })
const apart = 100
const kinds: readonly [name: string, options: WindowOptions<Event, string, unknown, unknown>][] = [
  ['sessions with lateness', { windows: session({ gapMs: 10 }), aggregate: sums, allowedLatenessMs: 50 }],
  [
    'sessions with early results',
    { windows: session({ gapMs: 10 }), aggregate: sums, early: { everyMs: 5 } },
  ],
  [
    'sessions with an aggregate that grows',
    { windows: session({ gapMs: 10 }), aggregate: distinctCount(float64, (event: Event) => event.value) },
  ],
  [
    'sessions whose events are kept',
    {
      windows: session({ gapMs: 10 }),
      events: json<Event>(),
      process: (events: readonly Event[]) => events.length,
    },
  ],
  ['sliding windows', { windows: sliding({ sizeMs: 20 }), events: json<Event>(), process: () => 1 }],
  [
    'hopping windows with early results',
    { windows: hopping({ sizeMs: 20, slideMs: 10 }), aggregate: sums, early: { everyEvents: 2 } },
  ],
] as never

interface Cost {
  looks: number
  bytes: number
  results: number
}

/** Fills so many windows of one key out of their order, adds to each of them, and closes one after the other. */
async function costOf(options: WindowOptions<Event, string, unknown, unknown>, many: number): Promise<Cost> {
  const definition = windowed<Event, string, unknown, unknown>(options) as object
  const schema = defineState({ key: utf8, states: statesOfWindows('w', definition) as never })
  const backend = new MemoryStateBackend()
  const cost: Cost = { looks: 0, bytes: 0, results: 0 }
  const operator = openWindows({
    store: await StateStore.open(backend, schema),
    name: 'w',
    definition: definition as never,
    emit: () => void cost.results++,
    nowMs: () => 0,
  })
  for (const _ of operator.restore(-Infinity));
  const { getFloat64, setInt32 } = DataView.prototype
  const { copyWithin, set } = Uint8Array.prototype
  const spies = [
    vi.spyOn(DataView.prototype, 'getFloat64').mockImplementation(function (this: DataView, ...args) {
      cost.looks++
      return getFloat64.apply(this, args)
    }),
    vi.spyOn(DataView.prototype, 'setInt32').mockImplementation(function (this: DataView, ...args) {
      cost.bytes += 4
      setInt32.apply(this, args)
    }),
    vi.spyOn(Uint8Array.prototype, 'copyWithin').mockImplementation(function (this: Uint8Array, ...args) {
      cost.bytes += (args[2] ?? this.length) - (args[1] as number)
      return copyWithin.apply(this, args) as never
    }),
    vi.spyOn(Uint8Array.prototype, 'set').mockImplementation(function (this: Uint8Array, ...args) {
      cost.bytes += args[0].length
      set.apply(this, args)
    }),
  ]
  try {
    const add = (at: number, value: number) => operator.add('a', { at, value }, at, -Infinity)
    for (let i = 0; i < many; i++) add(((i * 7_919) % many) * apart, i)
    for (let i = 0; i < many; i++) add(i * apart + 5, many + i)
    for (let i = 0; i < many; i++) for (const _ of operator.advance(i * apart + 70));
    for (const _ of operator.advance(Infinity));
  } finally {
    for (const spy of spies) spy.mockRestore()
  }
  await backend.close()
  return cost
}

it.each(kinds)('%s: an event costs about the same however many windows its key has', async (_, options) => {
  const few = 400
  const times = process.env['HOLDFAST_LONG'] === '1' ? 10 : 4
  const less = await costOf(options, few)
  const more = await costOf(options, few * times)
  expect(less.results).toBeGreaterThanOrEqual(few)
  expect(more.results).toBe(less.results * times)
  // Sixteen, and a hundred, times as much where each event looked at all windows of its key.
  expect(more.looks).toBeLessThan(less.looks * times * 1.8)
  expect(more.bytes).toBeLessThan(less.bytes * times * 1.8)
})
