import fc from 'fast-check'
import { MemoryStateBackend } from 'holdfast'
import { describe, expect, it } from 'vitest'
import type { LlmRequest } from './events.js'
import { add, allWindows, busiest, digestOf, openWindows, WINDOW_MS, type WindowStore } from './windows.js'

const base: LlmRequest = {
  timestampMs: 1_700_000_000_000,
  model: 'm',
  tenant: 't',
  tokensIn: 10,
  tokensOut: 5,
  costUsd: 0.25,
  latencyMs: 40,
}

async function stateOf(requests: readonly LlmRequest[]): Promise<WindowStore> {
  const state = await openWindows(new MemoryStateBackend({ sweepIntervalMs: Infinity }))
  for (const request of requests) add(state, request)
  return state
}

const digestAfter = async (requests: readonly LlmRequest[]) => digestOf(await stateOf(requests))

const requests = fc.array(
  fc.record({
    timestampMs: fc.integer({ min: -3 * WINDOW_MS, max: 3 * WINDOW_MS }),
    model: fc.string({ unit: fc.constantFrom('\0', '\x01', '\xff', 'a', 'é', '😀'), maxLength: 4 }),
    tenant: fc.string({ unit: fc.constantFrom('\0', '\x01', '\xff', 'a', 'é', '😀'), maxLength: 4 }),
    tokensIn: fc.nat(10_000),
    tokensOut: fc.nat(10_000),
    costUsd: fc.double({ min: 0, max: 10, noNaN: true }),
    latencyMs: fc.double({ min: 0, max: 1e5, noNaN: true }),
  }),
  { maxLength: 40 },
)

describe('the windows', () => {
  it('adds up by minute, model and tenant', async () => {
    const startMs = Math.floor(base.timestampMs / WINDOW_MS) * WINDOW_MS
    const state = await stateOf([
      base,
      { ...base, latencyMs: 90, costUsd: 0.1 },
      { ...base, timestampMs: startMs },
      { ...base, timestampMs: startMs + WINDOW_MS - 1, latencyMs: 1 },
      { ...base, timestampMs: startMs + WINDOW_MS },
      { ...base, timestampMs: startMs - 1 },
      { ...base, model: 'other' },
    ])
    const one = {
      model: 'm',
      tenant: 't',
      count: 1,
      tokensIn: 10,
      tokensOut: 5,
      costMicros: 250_000,
      maxLatencyMs: 40,
    }
    expect(
      [...allWindows(state)].sort((a, b) =>
        a.model === b.model ? a.startMs - b.startMs : a.model < b.model ? -1 : 1,
      ),
    ).toEqual([
      { ...one, startMs: startMs - WINDOW_MS },
      { ...one, startMs, count: 4, tokensIn: 40, tokensOut: 20, costMicros: 850_000, maxLatencyMs: 90 },
      { ...one, startMs: startMs + WINDOW_MS },
      { ...one, startMs, model: 'other' },
    ])
  })

  it('agrees with a plain map, whatever the names are', async () => {
    await fc.assert(
      fc.asyncProperty(requests, async (all) => {
        const expected = new Map<string, number>()
        for (const { timestampMs, model, tenant, tokensIn } of all) {
          const key = JSON.stringify([Math.floor(timestampMs / WINDOW_MS) * WINDOW_MS, model, tenant])
          expected.set(key, (expected.get(key) ?? 0) + tokensIn)
        }
        const windows = [...allWindows(await stateOf(all))]
        const found = windows.map(
          (w) => [JSON.stringify([w.startMs, w.model, w.tenant]), w.tokensIn] as const,
        )
        expect(new Map(found)).toEqual(expected)
        expect(found).toHaveLength(expected.size)
      }),
    )
  })

  it('does not depend on the order of arrival', async () => {
    await fc.assert(
      fc.asyncProperty(requests, async (all) => {
        expect(await digestAfter([...all].reverse())).toBe(await digestAfter(all))
      }),
    )
  })

  it('has another digest as soon as anything is different', async () => {
    const digest = await digestAfter([base])
    const changes: Partial<LlmRequest>[] = [
      { timestampMs: base.timestampMs + WINDOW_MS },
      { model: 'n' },
      { tenant: 'u' },
      { model: 'mt', tenant: '' },
      { tokensIn: 11 },
      { tokensOut: 6 },
      { costUsd: 0.250001 },
      { latencyMs: 41 },
    ]
    const digests = await Promise.all(changes.map((change) => digestAfter([{ ...base, ...change }])))
    const others = [await digestAfter([]), await digestAfter([base, base])]
    expect(new Set([digest, ...others, ...digests]).size).toBe(11)
  })

  it('knows its busiest windows', async () => {
    const names = ['b', 'a', 'c', 'c', 'a', 'd', 'c']
    const state = await stateOf(names.map((model) => ({ ...base, model })))
    expect(busiest(state, 3).map(({ model, count }) => [model, count])).toEqual([
      ['c', 3],
      ['a', 2],
      ['b', 1],
    ])
  })

  it('refuses sums that would no longer be exact', async () => {
    const state = await stateOf([{ ...base, tokensIn: Number.MAX_SAFE_INTEGER - 5 }])
    expect(() => add(state, base)).toThrow(/tokensIn/)
  })
})
