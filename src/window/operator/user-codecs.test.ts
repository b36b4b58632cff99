// What codecs of a user's own throw, where windows keep something by them.

import { describe, expect, it } from 'vitest'
import {
  driven,
  event,
  type Result,
  WindowDriver,
  type WindowEvent,
} from '../../../test/support/window-driver.js'
import { MAX_VALUE_BYTES } from '../../base/limits.js'
import { bytes } from '../../state/codec/byte-strings.js'
import type { Codec, KeyCodec } from '../../state/codec/codec.js'
import { json } from '../../state/codec/json.js'
import { float64 } from '../../state/codec/numbers.js'
import type { Aggregate } from '../aggregate/aggregate.js'
import { distinctValues } from '../aggregate/distinct.js'
import { combined, count, last } from '../aggregate/ready-made.js'
import { topN } from '../aggregate/top-n.js'
import { hopping, tumbling } from '../assign/assigner.js'
import { session } from '../assign/by-key.js'
import { windowJoin } from '../join/window-join.js'
import type { WindowOptions } from '../windowed.js'

type Options = WindowOptions<WindowEvent, string, unknown, Result>

/** Numbers; 13 cannot be written, 14 not be read. */
const mine: KeyCodec<number> & typeof float64 = {
  ...float64,
  descriptor: 'mine',
  write: (number, to) => float64.write(written(number), to),
  writeKey: (number, to) => float64.writeKey(written(number), to),
  store: (view, at, number) => float64.store(view, at, written(number)),
  read: (from) => read(float64.read(from)),
  readKey: (from) => read(float64.readKey(from)),
  load: (view, at) => read(float64.load(view, at)),
}

function written(number: number): number {
  if (number === 13) throw new Error('no number of mine')
  return number
}

function read(number: number): number {
  if (number === 14) throw new Error('no bytes of mine')
  return number
}

const mineOfEvents: Codec<WindowEvent> = {
  ...json<WindowEvent>(),
  write: (each, to) => {
    written(each.value)
    json<WindowEvent>().write(each, to)
  },
  read: (from) => {
    const each = json<WindowEvent>().read(from)
    read(each.value)
    return each
  },
}

/** The latest value, by functions of the user's. */
const latest: Aggregate<WindowEvent, number, number> = {
  codec: mine as Codec<number>,
  first: () => 0,
  add: (_, { value }) => value,
  merge: (_, later) => later,
}

const valueOf = (each: WindowEvent) => each.value
const join = (of: (event: WindowEvent) => WindowEvent | undefined) =>
  windowJoin({
    windows: tumbling({ sizeMs: 10 }),
    left: { codec: mineOfEvents, of },
    right: { codec: mineOfEvents, of: () => undefined },
    outputs: ({ key, window, pane, left }): Result[] => [
      { key: key as string, window, pane, timestampMs: 9, value: left.length },
    ],
  })

const kinds: readonly [string, Options][] = [
  ['an aggregate of panes', { windows: tumbling({ sizeMs: 10 }), aggregate: latest }],
  ['an aggregate of sessions', { windows: session({ gapMs: 5 }), aggregate: latest }],
  [
    'kept events',
    { windows: session({ gapMs: 5 }), events: mineOfEvents, process: (all) => [...all].length },
  ],
  [
    'topN',
    { windows: tumbling({ sizeMs: 10 }), aggregate: topN({ n: 2, by: valueOf, codec: mine, of: valueOf }) },
  ],
  ['distinct values', { windows: tumbling({ sizeMs: 10 }), aggregate: distinctValues(mine, valueOf) }],
  [
    'last',
    { windows: session({ gapMs: 5 }), aggregate: combined({ n: count(), last: last(mine, valueOf) }) },
  ],
  ['a join', join((each) => each) as unknown as Options],
]

describe('codecs of a user’s own in windows', () => {
  it.each(kinds)(
    'make an event that they cannot write a bad one, and nothing of it is kept: %s',
    async (_, options) => {
      const { results } = await driven(options, async (driver) => {
        for (const key of ['a', 'b']) {
          if (key === 'a') driver.add(event(key, 1, 1))
          expect(() => driver.add(event(key, 2, 13))).toThrow(
            expect.objectContaining({
              code: 'SERIALIZATION_FAILED',
              details: {
                what: expect.stringMatching(new RegExp(`^state 'w', key "${key}"$`)),
                reason: expect.stringMatching(/no number of mine$/),
              },
            }),
          )
        }
        await driver.open()
        driver.advance(Infinity)
      })
      expect(results.map(({ key }) => key)).toEqual(['a'])
    },
  )

  it.each(kinds.slice(0, 2))('name the key of what they cannot read: %s', async (_, options) => {
    await driven(options, (driver) => {
      driver.add(event('a', 1, 14))
      const unreadable = expect.objectContaining({
        code: 'DESERIALIZATION_FAILED',
        details: { what: 'state \'w\', key "a"', reason: 'no bytes of mine' },
      })
      expect(() => driver.add(event('a', 2, 1))).toThrow(unreadable)
      expect(() => driver.operator.peek('a')).toThrow(unreadable)
    })
  })

  it('name key and time of a kept event that they cannot read', async () => {
    const windows = session({ gapMs: 5 })
    await driven({ windows, events: mineOfEvents, process: () => 0 }, (driver) => {
      driver.add(event('a', 1, 14))
      expect(() => driver.operator.peek('a')).toThrow(
        expect.objectContaining({
          code: 'DESERIALIZATION_FAILED',
          details: { what: 'state \'w.events\', key "a", map key [1,0]', reason: 'no bytes of mine' },
        }),
      )
    })
  })

  it('are told from functions of the user, whose failures are passed on', async () => {
    const thrown = new Error('of the function')
    const fails = () => {
      throw thrown
    }
    for (const options of [
      { windows: tumbling({ sizeMs: 10 }), aggregate: topN({ n: 2, by: valueOf, codec: mine, of: fails }) },
      { windows: tumbling({ sizeMs: 10 }), aggregate: { ...latest, add: fails } },
      join(fails) as unknown as Options,
    ]) {
      await driven(options as Options, (driver) => {
        expect(() => driver.add(event('a', 1))).toThrow(thrown)
      })
    }
  })
})

describe('windows with more than a value may have', () => {
  const large = new Uint8Array(MAX_VALUE_BYTES - 100)
  const gathered: Aggregate<WindowEvent, Uint8Array, number> = {
    codec: bytes as Codec<Uint8Array>,
    first: () => new Uint8Array(0),
    add: (before, { value }) => (value === 0 ? large : new Uint8Array(before.length + value)),
    merge: (before, later) => new Uint8Array(before.length + later.length),
    result: ({ length }) => length,
  }
  const refused = expect.objectContaining({
    code: 'SERIALIZATION_FAILED',
    details: {
      what: 'state \'w\', key "a"',
      reason: expect.stringMatching(/^a value of \d+ bytes; the limit is 67108864$/),
    },
  })

  it.each([
    ['panes', tumbling({ sizeMs: 10 })],
    ['sessions', session({ gapMs: 5 })],
  ])('refuse the event that would make it so: %s', async (_, windows) => {
    const { results } = await driven({ windows, aggregate: gathered }, (driver) => {
      driver.add(event('a', 1, 0))
      expect(() => driver.add(event('a', 2, 101))).toThrow(refused)
      driver.flush()
      driver.advance(Infinity)
    })
    expect(results.map(({ value }) => value)).toEqual([large.length])
  })

  it.each([
    ['panes', tumbling({ sizeMs: 10 })],
    ['sessions', session({ gapMs: 5 })],
    ['kept events', undefined],
  ])('refuse it where the engine takes less than others: %s', async (_, windows) => {
    const kept = { windows: session({ gapMs: 5 }), events: json<WindowEvent>(), process: () => 0 }
    const options = windows === undefined ? kept : { windows, aggregate: gathered }
    const driver = await new WindowDriver(options as Options, 1_000).open()
    const longer =
      windows === undefined ? { ...event('a', 2), more: 'x'.repeat(1_000) } : event('a', 2, 1_001)
    driver.add(event('a', 1, 1))
    expect(() => driver.add(longer)).toThrow(
      expect.objectContaining({
        code: 'SERIALIZATION_FAILED',
        details: expect.objectContaining({ reason: expect.stringMatching(/the limit is 1000$/) }),
      }),
    )
    driver.flush()
    driver.advance(Infinity)
    expect(driver.results).toHaveLength(1)
    await driver.close()
  })

  it('refuse one that is too large to be kept', async () => {
    const windows = session({ gapMs: 5 })
    const codec: Codec<WindowEvent> = {
      descriptor: 'large',
      fixedBytes: undefined,
      isOpenEnded: true,
      write: ({ value }, to) => void to.reserve(MAX_VALUE_BYTES + value),
      read: (from) => event('a', 0, from.rest()),
    }
    const { results } = await driven(
      { windows, events: codec, process: (all) => [...all].length },
      (driver) => {
        expect(() => driver.add(event('a', 1, 1))).toThrow(refused)
        driver.add(event('a', 1, 0))
        driver.advance(Infinity)
      },
    )
    expect(results.map(({ value }) => value)).toEqual([1])
  })

  it('give results that are larger, where none of it is stored', async () => {
    const windows = hopping({ sizeMs: 20, slideMs: 10 })
    const { results } = await driven({ windows, aggregate: gathered }, (driver) => {
      driver.add(event('a', 1, 0))
      driver.add(event('a', 11, 0))
      driver.advance(Infinity)
    })
    expect(results.map(({ value }) => value)).toContain(2 * large.length)
  })
})
