import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { LlmRequest, SourcePosition } from './events.js'
import { GeneratorSource } from './generator.js'

async function read(source: GeneratorSource, from: SourcePosition, size: number): Promise<LlmRequest[]> {
  const requests: LlmRequest[] = []
  for await (const batch of source.batches(from, size)) {
    requests.push(...batch.events)
    expect(batch.end.events).toBe(from.events + requests.length)
  }
  return requests
}

describe('GeneratorSource', () => {
  it('delivers the same requests wherever reading resumes and however it is cut', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer(),
        fc.integer({ min: 1, max: 300 }),
        fc.integer({ min: 0, max: 300 }),
        fc.integer({ min: 1, max: 100 }),
        async (seed, events, resumeAt, size) => {
          const source = new GeneratorSource({ seed, events })
          const all = await read(source, source.start, 1_000)
          const rest = await read(source, { events: Math.min(resumeAt, events), skippedLines: 0 }, size)
          expect(all).toHaveLength(events)
          expect(rest).toEqual(all.slice(resumeAt))
        },
      ),
    )
  })

  it('gives other requests for another seed', async () => {
    const [one, two] = [1, 2].map((seed) => new GeneratorSource({ seed, events: 50 }))
    if (one === undefined || two === undefined) throw new Error('unreachable')
    expect(await read(one, one.start, 50)).not.toEqual(await read(two, two.start, 50))
  })

  it('has hours of event time, a few hundred uneven keys, and arrivals out of order by up to two minutes', async () => {
    const source = new GeneratorSource({ seed: 1, events: 60_000 })
    const requests = await read(source, source.start, 60_000)
    const perKey = new Map<string, number>()
    let latest = -Infinity
    let late = 0
    let mostLateMs = 0
    for (const { timestampMs, model, tenant } of requests) {
      perKey.set(`${model}/${tenant}`, (perKey.get(`${model}/${tenant}`) ?? 0) + 1)
      if (timestampMs < latest) late++
      mostLateMs = Math.max(mostLateMs, latest - timestampMs)
      latest = Math.max(latest, timestampMs)
    }
    const counts = [...perKey.values()].sort((a, b) => b - a)
    expect(counts).toHaveLength(320)
    expect(counts[0]).toBeGreaterThan(20 * (counts[300] as number))
    expect(late / requests.length).toBeGreaterThan(0.3)
    expect(mostLateMs).toBeGreaterThan(60_000)
    expect(mostLateMs).toBeLessThanOrEqual(120_000)
    expect(latest - (requests[0]?.timestampMs ?? 0)).toBeGreaterThan(3.9 * 3_600_000)
  })

  it('makes plausible requests', async () => {
    const source = new GeneratorSource({ seed: 7, events: 2_000 })
    for (const request of await read(source, source.start, 500)) {
      expect(request.timestampMs).toSatisfy(Number.isSafeInteger)
      expect(request.tokensIn).toSatisfy(Number.isSafeInteger)
      expect(request.tokensOut).toBeGreaterThan(0)
      expect(request.costUsd).toBeGreaterThan(0)
      expect(request.latencyMs).toBeGreaterThan(100)
    }
  })
})
