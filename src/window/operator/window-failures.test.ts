import { describe, expect, it } from 'vitest'
import { driven, event, type Result, values, type WindowEvent } from '../../../test/support/window-driver.js'
import { utf8 } from '../../state/codec/byte-strings.js'
import { json } from '../../state/codec/json.js'
import { float64 } from '../../state/codec/numbers.js'
import { distinctCount } from '../aggregate/distinct.js'
import { approximateDistinctCount } from '../aggregate/hyper-log-log.js'
import { quantiles } from '../aggregate/quantiles.js'
import { combined, count } from '../aggregate/ready-made.js'
import { topN } from '../aggregate/top-n.js'
import { cumulative, hopping, tumbling } from '../assign/assigner.js'
import { session } from '../assign/by-key.js'
import type { WindowOptions } from '../windowed.js'
import { WindowList } from './window-list.js'

describe('windows whose store fails, and what they refuse', () => {
  it.each([
    ['tumbling', 'w', { windows: tumbling({ sizeMs: 10 }), aggregate: count() }],
    ['sessions', 'w', { windows: session({ gapMs: 5 }), aggregate: count() }],
    [
      'kept events',
      'w.events',
      { windows: session({ gapMs: 5 }), events: json<WindowEvent>(), aggregate: count() },
    ],
  ] as const)(
    'are whole in the next cut where one has failed in the middle: %s',
    async (_, state, options) => {
      for (const failing of ['put', 'remove'] as const) {
        const driver = await driven(
          options as WindowOptions<WindowEvent, string, unknown, Result>,
          async (d) => {
            for (const key of ['gone', 'gone too']) d.add(event(key, -50))
            await d.open()
            d.advance(-20)
            for (const key of ['a', 'b', 'c']) d.add(event(key, 1))
            for (let calls = 0; calls < 3; calls++) d.failAt(state, failing, calls)
            await d.open()
            d.advance(Infinity)
          },
        )
        expect(driver.results.map(({ key }) => key)).toEqual(['gone', 'gone too', 'a', 'b', 'c'])
        expect(await driver.close()).toBe(1)
      }
    },
  )

  it.each([
    ['tumbling', tumbling({ sizeMs: 10 })],
    ['session', session({ gapMs: 5 })],
  ] as const)('keep nothing of an event that one of several aggregates refuses: %s', async (_, windows) => {
    const name = ({ value }: WindowEvent) => (value === 0 ? '\ud800' : String(value))
    const aggregate = combined({ n: count(), names: distinctCount(utf8, name) })
    const { results } = await driven({ windows, aggregate }, (d) => {
      const refused = expect.objectContaining({ code: 'SERIALIZATION_FAILED' })
      for (const value of [1, 1, 0, 2, 0]) {
        if (value !== 0) d.add(event('a', 1, value))
        else expect(() => d.add(event('a', 1, value))).toThrowError(refused)
      }
      d.advance(20)
    })
    expect(results.map(({ value }) => value)).toEqual([{ n: 3, names: 2 }])
  })

  it.each([
    ['topN', topN({ n: 2, by: ({ value }: WindowEvent) => value, codec: json<WindowEvent>() })],
    ['distinctCount', distinctCount(utf8, ({ key }: WindowEvent) => key)],
    ['approximateDistinctCount', approximateDistinctCount(float64, ({ value }: WindowEvent) => value)],
    ['quantiles', quantiles(({ value }: WindowEvent) => value, [0.5])],
    ['combined', combined({ n: count(), many: distinctCount(utf8, ({ key }: WindowEvent) => key) })],
  ])('refuse stored bytes that are none of %s', async (_, aggregate) => {
    for (const windows of [tumbling({ sizeMs: 10 }), session({ gapMs: 5 })]) {
      const driver = await driven({ windows, aggregate } as never, (d) => d.add(event('a', 1)))
      driver.damage('w', (bytes) => {
        const damaged = new Uint8Array(bytes)
        // Its last byte is a register, or part of a count, of a value's end, or of JSON.
        damaged[damaged.length - 1] = 0xff
        return damaged
      })
      await expect(driver.open()).rejects.toMatchObject({ code: 'DESERIALIZATION_FAILED' })
    }
  })

  it.each([
    ['tumbling', { windows: tumbling({ sizeMs: 10 }), aggregate: count() }],
    ['sessions', { windows: session({ gapMs: 5 }), aggregate: count() }],
    ['kept events', { windows: session({ gapMs: 5 }), events: json<WindowEvent>(), aggregate: count() }],
  ] as const)('refuse a key that the next cut could not store: %s', async (_, options) => {
    const driver = await driven(options as WindowOptions<WindowEvent, string, unknown, Result>, (d) => {
      const refused = expect.objectContaining({ code: 'SERIALIZATION_FAILED' })
      for (const length of [2_048, 3_000])
        expect(() => d.add(event('k'.repeat(length), 1))).toThrowError(refused)
      d.add(event('k'.repeat(2_000), 1))
      d.flush()
      d.advance(Infinity)
    })
    expect(driver.results).toHaveLength(1)
    expect(await driver.close()).toBe(1)
  })

  it.each([
    ['tumbling', tumbling({ sizeMs: 60_000 })],
    ['hopping', hopping({ sizeMs: 60_000, slideMs: 7_000 })],
    ['cumulative', cumulative({ maxMs: 60_000, stepMs: 10_000 })],
  ])('refuse an event whose %s window no cut could name', async (_, windows) => {
    await driven({ windows, aggregate: count() }, async (driver) => {
      for (const at of [-Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER]) {
        expect(() => driver.add(event('a', at))).toThrow(
          expect.objectContaining({ code: 'SERIALIZATION_FAILED' }),
        )
      }
      driver.add(event('a', 1))
      await driver.open()
      driver.advance(Infinity)
      expect(driver.results.length).toBeGreaterThan(0)
    })
  })

  const cut = (bytes: Uint8Array) => bytes.slice(0, -3)
  const junk = (bytes: Uint8Array) => bytes.map((byte, i) => (i < bytes.length - 3 ? byte : 0xff))
  it.each([
    ['a count that is cut off', { windows: tumbling({ sizeMs: 10 }), aggregate: count() }, 'w', cut],
    ['a list that is cut off', { windows: tumbling({ sizeMs: 10 }), aggregate: values }, 'w', cut],
    ['a list of a session', { windows: session({ gapMs: 10 }), aggregate: values }, 'w', junk],
    [
      'a session without an end',
      { windows: session({ gapMs: 10 }), aggregate: count() },
      'w',
      (bytes: Uint8Array) => {
        const damaged = Buffer.from(bytes)
        damaged.writeDoubleLE(Number.NaN, 12)
        return new Uint8Array(damaged)
      },
    ],
    [
      'a kept event',
      { windows: session({ gapMs: 10 }), events: json<WindowEvent>(), process: () => 0 },
      'w.events',
      cut,
    ],
  ])(
    'refuse %s, which the store has damaged, before anything comes of it',
    async (_, options, state, how) => {
      await driven(options, async (driver) => {
        driver.add(event('a', 1))
        driver.damage(state, how)
        await expect(driver.open()).rejects.toMatchObject({ code: 'DESERIALIZATION_FAILED' })
      })
    },
  )

  it('refuse more replaced results than their form has room for, and change nothing', () => {
    const list = new WindowList()
    list.insert(0, 0, 10, 8)
    const replaced = Array.from({ length: 65_536 }, (_, i) => ({ startMs: i, endMs: i + 1 }))
    expect(() => list.setReplaces(0, replaced)).toThrow(/more than 65535/)
    expect([list.replaces(0), list.accumulatorBytes(0)]).toEqual([[], 8])
  })
})
