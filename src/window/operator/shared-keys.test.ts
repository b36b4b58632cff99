import { describe, expect, it } from 'vitest'
import { seededRandom } from '../../base/random.js'
import { runThrough } from '../../base/slices.js'
import { MemoryStateBackend } from '../../memory/memory-state-backend.js'
import { float64, int32 } from '../../state/codec/numbers.js'
import { defineState } from '../../state/schema/define-state.js'
import { StateStore } from '../../state/store.js'
import { combined, count, first, sum } from '../aggregate/ready-made.js'
import { hopping } from '../assign/assigner.js'
import { windowed } from '../windowed.js'
import { openWindows, statesOfWindows } from './open-windows.js'

const SIZE_MS = 60
const SLIDE_MS = 5
const PARTS = {
  count: count(),
  sum: sum(({ value }: Event) => value),
  first: first(float64, ({ value }: Event) => value),
}

interface Event {
  readonly key: number
  readonly at: number
  readonly value: number
}

/** What windows come to, made one by one. */
function expectedOf(events: readonly Event[], untilMs: number): string[] {
  const results: string[] = []
  for (let endMs = 0; endMs <= untilMs; endMs += SLIDE_MS) {
    const byKey = new Map<number, Event[]>()
    for (const event of events) {
      if (event.at < endMs - SIZE_MS || event.at >= endMs) continue
      byKey.set(event.key, [...(byKey.get(event.key) ?? []), event])
    }
    for (const key of [...byKey.keys()].sort((left, right) => left - right)) {
      const own = byKey.get(key) ?? []
      const earliest = own.reduce((before, event) => (event.at < before.at ? event : before))
      const total = own.reduce((before, { value }) => before + value, 0)
      results.push(`${endMs} ${key} ${own.length} ${total} ${earliest.value}`)
    }
  }
  return results
}

describe('keys that panes have in common', () => {
  it('change nothing of what overlapping windows come to, while keys come and go and events are refused', async () => {
    const random = seededRandom(7)
    const below = (limit: number) => Math.floor(random() * limit)
    const definition = windowed({
      windows: hopping({ sizeMs: SIZE_MS, slideMs: SLIDE_MS }),
      aggregate: combined(PARTS),
    })
    const schema = defineState({ key: int32, states: statesOfWindows('w', definition) as never })
    const store = await StateStore.open(new MemoryStateBackend(), schema)
    const results: string[] = []
    const operator = openWindows({
      store,
      name: 'w',
      definition: definition as never,
      emit: (output) => {
        const { key, window, value } = output as never as {
          readonly key: number
          readonly window: { readonly endMs: number }
          readonly value: { readonly count: number; readonly sum: number; readonly first: number }
        }
        results.push(`${window.endMs} ${key} ${value.count} ${value.sum} ${value.first}`)
      },
      nowMs: () => 0,
    })
    runThrough(operator.restore(-Infinity))
    const entered: Event[] = []
    let watermarkMs = -1
    const untilMs = 20 * SIZE_MS
    for (let at = 0; at < untilMs; at++) {
      if (at % (SIZE_MS / 2) === 0) {
        // A pane begins with a key that is refused, and with another one, none of which is known.
        const one = { key: 1_000 + at, at, value: 1 }
        const other = { key: 5_000 + at, at, value: 2 }
        expect(() => operator.add(one.key, { ...one, value: Number.NaN }, at, watermarkMs)).toThrow('sum')
        for (const event of [other, one]) operator.add(event.key, event, at, watermarkMs)
        entered.push(other, one)
      }
      // For some time the keys are the same, then one by one others, then hardly one comes again, and the same few once more.
      const era = Math.floor(at / (4 * SIZE_MS))
      for (let i = 0; i < 12; i++) {
        const key = era === 3 ? below(100_000) : below(40) - 20 + (era === 1 || era === 2 ? at >> 3 : 0)
        const event = { key, at: Math.max(at - below(4), watermarkMs + 1), value: below(1_000) }
        // The first event of a pane is refused at times.
        if (below(6) === 0 || (at % SLIDE_MS === 0 && i === 0)) {
          const refused = { ...event, at, value: Number.NaN }
          expect(() => operator.add(refused.key, refused, refused.at, watermarkMs)).toThrow('sum')
        }
        operator.add(key, event, event.at, watermarkMs)
        if (below(8) === 0) operator.revert()
        else entered.push(event)
      }
      if (at % 3 !== 0) continue
      watermarkMs = at - 4
      runThrough(operator.advance(watermarkMs))
    }
    runThrough(operator.advance(untilMs))
    expect(results).toEqual(expectedOf(entered, untilMs + 1))
  })
})
