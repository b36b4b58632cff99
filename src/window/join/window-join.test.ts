import fc from 'fast-check'
import { describe, expect, expectTypeOf, it } from 'vitest'
import { defineJob } from '../../job/define-job.js'
import { MemoryStateBackend } from '../../memory/memory-state-backend.js'
import { utf8 } from '../../state/codec/byte-strings.js'
import { ByteReader, ByteWriter } from '../../state/codec/bytes.js'
import { json } from '../../state/codec/json.js'
import { float64, uint32 } from '../../state/codec/numbers.js'
import { defineState } from '../../state/schema/define-state.js'
import { StateStore } from '../../state/store.js'
import { JobTest, testJob } from '../../testing/job-test.js'
import { hopping, tumbling, type WindowAssigner } from '../assign/assigner.js'
import { countWindows, type SessionWindows, session } from '../assign/by-key.js'
import type { EventsCodec } from '../operator/kept-events.js'
import { openWindows, statesOfWindows } from '../operator/open-windows.js'
import type { ErasedWindows } from '../operator/window-operator.js'
import { boundedDisorder } from '../time/watermark-strategy.js'
import { windowed } from '../windowed.js'
import { type JoinKind, windowJoin } from './window-join.js'

interface Event {
  readonly side: 'left' | 'right' | 'neither'
  readonly key: string
  readonly at: number
  readonly id: number
}

const left = { codec: json<Event>(), of: (event: Event) => (event.side === 'left' ? event : undefined) }
const right = { codec: uint32, of: (event: Event) => (event.side === 'right' ? event.id : undefined) }

const common = {
  name: 'join',
  key: ({ key }: Event) => key,
  timestamp: ({ at }: Event) => at,
  schema: defineState({ key: utf8, states: {} }),
}

function joinJob(windows: WindowAssigner | SessionWindows, join: JoinKind, disorderMs: number) {
  return defineJob<Event, string>()({
    ...common,
    time: { watermarks: boundedDisorder(disorderMs) },
    windows: {
      pairs: windowJoin({
        windows,
        left,
        right,
        join,
        output: ({ key, window, left: event, right: id }) =>
          `${key} [${window.startMs}, ${window.endMs}) ${event?.id ?? '-'}-${id ?? '-'}`,
      }),
    },
  })
}

const event = (side: Event['side'], at: number, id: number, key = 'a'): Event => ({ side, key, at, id })

const SIZE_MS = 20
const SLIDE_MS = 10
const GAP_MS = 6

const kindsOfWindows: readonly (readonly [string, WindowAssigner | SessionWindows])[] = [
  ['tumbling', tumbling({ sizeMs: SIZE_MS })],
  ['hopping', hopping({ sizeMs: SIZE_MS, slideMs: SLIDE_MS })],
  ['session', session({ gapMs: GAP_MS })],
]

/** The windows of the events of a key. */
function windowsOf(kind: string, times: readonly number[]): [startMs: number, endMs: number][] {
  const found: [number, number][] = []
  if (kind === 'session') {
    for (const at of times.toSorted((one, other) => one - other)) {
      const last = found.at(-1)
      if (last !== undefined && at <= last[1]) last[1] = at + GAP_MS
      else found.push([at, at + GAP_MS])
    }
    return found
  }
  const slide = kind === 'tumbling' ? SIZE_MS : SLIDE_MS
  for (let startMs = -10 * SIZE_MS; startMs < 50 * SIZE_MS; startMs += slide) {
    if (times.some((at) => at >= startMs && at < startMs + SIZE_MS)) found.push([startMs, startMs + SIZE_MS])
  }
  return found
}

function expectedPairs(kind: string, join: JoinKind, events: readonly Event[]): string[] {
  const lines: string[] = []
  for (const key of new Set(events.map((each) => each.key))) {
    const ofKey = events.filter((each) => each.key === key)
    const times = ofKey.map(({ at }) => at)
    for (const [startMs, endMs] of windowsOf(kind, times)) {
      const inside = ofKey.filter(({ at }) => at >= startMs && at < endMs)
      const lefts = inside.filter(({ side }) => side === 'left').map(({ id }) => String(id))
      const rights = inside.filter(({ side }) => side === 'right').map(({ id }) => String(id))
      const pairs: string[] = lefts.flatMap((one) => rights.map((other) => `${one}-${other}`))
      if (rights.length === 0 && (join === 'left' || join === 'outer')) {
        pairs.push(...lefts.map((one) => `${one}--`))
      }
      if (lefts.length === 0 && (join === 'right' || join === 'outer')) {
        pairs.push(...rights.map((other) => `--${other}`))
      }
      for (const pair of pairs) lines.push(`${key} [${startMs}, ${endMs}) ${pair}`)
    }
  }
  return lines.sort()
}

describe('a window join', () => {
  it('pairs what is in one window of a key, the left ones in their order, then the right ones', async () => {
    const { outputs } = await testJob(joinJob(tumbling({ sizeMs: 10 }), 'inner', 20), [
      event('right', 9, 1),
      event('left', 5, 2),
      event('left', 0, 3),
      event('right', 3, 4),
      event('left', 10, 5),
      event('right', 4, 6, 'b'),
    ])
    expect(outputs).toEqual(['a [0, 10) 3-4', 'a [0, 10) 3-1', 'a [0, 10) 2-4', 'a [0, 10) 2-1'])
  })

  it('waits for the slower one of its sides: the watermark is the least of both', async () => {
    const job = joinJob(tumbling({ sizeMs: 10 }), 'outer', 0)
    await using test = await JobTest.start(job, { partitions: ['left', 'right'] })
    await test.sendTo('left', event('left', 1, 1), event('left', 100, 2))
    expect(test.outputs).toEqual([])
    await test.sendTo('right', event('right', 2, 3))
    await test.restart()
    await test.sendTo('right', event('right', 25, 4))
    expect(test.outputs).toEqual(['a [0, 10) 1-3'])
    await test.end()
    expect(test.outputs).toEqual(['a [0, 10) 1-3', 'a [20, 30) --4', 'a [100, 110) 2--'])
  })

  it.each(kindsOfWindows)(
    'agrees with comparing all with all, whatever is kept of those alone: %s',
    async (kind, windows) => {
      const steps = fc.array(
        fc.record({
          side: fc.constantFrom('left' as const, 'right' as const),
          key: fc.constantFrom('a', 'b'),
          stepMs: fc.integer({ min: -8, max: 12 }),
          opens: fc.nat({ max: 9 }).map((n) => n === 0),
        }),
        { maxLength: 25 },
      )
      const joins = fc.constantFrom<JoinKind>('inner', 'left', 'right', 'outer')
      await fc.assert(
        fc.asyncProperty(steps, joins, async (made, join) => {
          let at = 0
          const events = made.map(({ side, key, stepMs }, id): Event => {
            at += stepMs
            return event(side, at, id, key)
          })
          const partitions = ['left', 'right']
          await using test = await JobTest.start(joinJob(windows, join, 200), { partitions })
          for (const [i, each] of events.entries()) {
            if (made[i]?.opens) await test.restart()
            await test.sendTo(each.side, each)
          }
          await test.end()
          expect([...test.outputs].sort()).toEqual(expectedPairs(kind, join, events))
        }),
        { numRuns: process.env['HOLDFAST_LONG'] === '1' ? 500 : 10 },
      )
    },
  )

  it('W11, W12: tells of late events, and shows all pairs again where they are still taken', async () => {
    const job = defineJob<Event, string>()({
      ...common,
      time: { watermarks: boundedDisorder(0) },
      windows: {
        pairs: windowJoin({
          windows: tumbling({ sizeMs: 10 }),
          left,
          right,
          allowedLatenessMs: 10,
          output: ({ left: one, right: other, pane }) => `${one.id}-${other} ${pane.kind}`,
          onLate: ({ event: late }) => `late ${late.id}`,
        }),
      },
    })
    await using test = await JobTest.start(job)
    for (const each of [
      event('left', 1, 1),
      event('right', 1, 2),
      event('left', 15, 3),
      event('right', 2, 4),
      event('left', 30, 5),
      event('right', 3, 6),
    ]) {
      await test.send(each)
    }
    expect(test.outputs).toEqual(['1-2 onTime', '1-2 late', '1-4 late', 'late 6'])
  })

  it('gives both sides of a window to `outputs`', async () => {
    const job = defineJob<Event, string>()({
      ...common,
      time: { watermarks: boundedDisorder(0) },
      windows: {
        groups: windowJoin({
          windows: tumbling({ sizeMs: 10 }),
          left,
          right,
          outputs: function* (group: {
            readonly left: readonly Event[]
            readonly right: readonly number[]
            readonly window: { readonly startMs: number }
          }) {
            yield `${group.window.startMs} left ${group.left.map(({ id }) => id)}`
            if (group.right.length > 0) yield `${group.window.startMs} right ${group.right}`
          },
        }),
      },
    })
    const { outputs } = await testJob(job, [event('left', 1, 1), event('right', 2, 2), event('left', 11, 3)])
    expect(outputs).toEqual(['0 left 1', '0 right 2', '10 left 3'])
  })

  it('makes an event of neither side a bad one', async () => {
    const { stats, outputs } = await testJob(
      { ...joinJob(tumbling({ sizeMs: 10 }), 'inner', 0), onBadEvent: 'skip' },
      [event('left', 1, 1), event('neither', 2, 2), event('right', 3, 3)],
    )
    expect([stats.badEvents, outputs]).toEqual([1, ['a [0, 10) 1-3']])
  })

  it('keeps an event with its side in front, and refuses stored bytes that are none', () => {
    const { events } = windowJoin({ windows: tumbling({ sizeMs: 10 }), left, right, output: () => '' })
    const codec = events as EventsCodec
    const written = new ByteWriter()
    codec.write(codec.keptOf?.(event('right', 1, 258)), written)
    expect(Buffer.from(written.copy()).toString('hex')).toBe('0102010000')
    expect(codec.descriptor).toEqual({ joined: ['json', 'uint32'] })
    for (const bytes of [[], [2, 0, 0, 0, 0], [1, 0, 0], [0, 0x7b]]) {
      expect(() => codec.read(new ByteReader().fromBytes(new Uint8Array(bytes)))).toThrow(
        expect.objectContaining({ name: 'CodecError' }),
      )
    }
  })

  it('has the types that its kind says', () => {
    const options = { windows: tumbling({ sizeMs: 10 }), left, right }
    windowJoin({
      ...options,
      output: (pair) => {
        expectTypeOf(pair.left).toEqualTypeOf<Event>()
        expectTypeOf(pair.right).toEqualTypeOf<number>()
        return ''
      },
    })
    windowJoin({
      ...options,
      join: 'left',
      output: (pair) => {
        expectTypeOf(pair.left).toEqualTypeOf<Event>()
        expectTypeOf(pair.right).toEqualTypeOf<number | undefined>()
        return ''
      },
    })
  })

  it('refuses what does not go together', () => {
    const given = { windows: tumbling({ sizeMs: 10 }), left, right }
    const output = () => ''
    const refused = (options: object, message: RegExp) =>
      expect(() => windowJoin(options as never)).toThrowError(message)
    refused({}, /windows is required.*left is required.*right is required.*output, or|windows is required/s)
    refused(given, /options.output or options.outputs|output.*or outputs is required/)
    refused({ ...given, output, outputs: () => [] }, /only one of them/)
    refused({ ...given, outputs: () => [], join: 'left' }, /join goes with output/)
    refused({ ...given, output, join: 'cross' }, /must be one of/)
    refused({ ...given, output, windows: countWindows({ size: 2 }) }, /must end by time/)
    refused({ ...given, output, left: { codec: float64 } }, /left\.of/)
    expect(() =>
      windowed({
        windows: given.windows,
        aggregate: { codec: float64, add: () => 0 },
        output,
        outputs: () => [],
      }),
    ).toThrowError(/outputs is in place of output/)
  })
})

it('leaves other work its turns between the pairs of a key, also where nothing comes of them', async () => {
  for (const windows of [tumbling({ sizeMs: SIZE_MS }), session({ gapMs: GAP_MS })]) {
    for (const gives of [true, false]) {
      let pairs = 0
      const definition = windowJoin({
        windows,
        left,
        right,
        output: () => {
          pairs++
          return gives ? pairs : undefined
        },
      })
      const schema = defineState({ key: utf8, states: statesOfWindows('pairs', definition) as never })
      const store = await StateStore.open(new MemoryStateBackend(), schema)
      const given: unknown[] = []
      const emit = (output: unknown) => void given.push(output)
      const erased = definition as unknown as ErasedWindows
      const operator = openWindows({ store, name: 'pairs', definition: erased, emit, nowMs: () => 0 })
      for (let id = 0; id < 60; id++) {
        operator.add('a', event('left', 1, id), 1, -Infinity)
        operator.add('a', event('right', 1, id), 1, -Infinity)
      }
      let most = 0
      let before = 0
      for (const _ of operator.advance(100)) {
        most = Math.max(most, pairs - before)
        before = pairs
      }
      expect(pairs).toBe(3_600)
      expect(given).toEqual(gives ? Array.from({ length: 3_600 }, (_, i) => i + 1) : [])
      expect(most).toBeLessThanOrEqual(256)
    }
  }
})
