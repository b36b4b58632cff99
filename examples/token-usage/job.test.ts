import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { JobTest, testJob } from 'holdfast/testing'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type LlmRequest, positionFrom, type SourcePosition } from './events.js'
import { GeneratorSource } from './generator.js'
import { tokenUsage } from './job.js'
import type { WorkerMessage, WorkerTask } from './protocol.js'
import { runTask } from './run-task.js'
import type { WindowTotals } from './totals.js'

const MINUTE_MS = 60_000
const base: LlmRequest = {
  timestampMs: 1_700_000_000_000,
  model: 'm',
  tenant: 't',
  tokensIn: 10,
  tokensOut: 5,
  costUsd: 0.25,
  latencyMs: 40,
}

/** The totals without any of the job's machinery. */
function addedUp(requests: readonly LlmRequest[]): WindowTotals[] {
  const windows = new Map<string, WindowTotals>()
  for (const { timestampMs, model, tenant, tokensIn, tokensOut, costUsd, latencyMs } of requests) {
    const startMs = Math.floor(timestampMs / MINUTE_MS) * MINUTE_MS
    const name = JSON.stringify([startMs, model, tenant])
    const zeros = { count: 0, tokensIn: 0, tokensOut: 0, costMicros: 0, maxLatencyMs: 0 }
    const before = windows.get(name) ?? { startMs, model, tenant, ...zeros }
    windows.set(name, {
      startMs,
      model,
      tenant,
      count: before.count + 1,
      tokensIn: before.tokensIn + tokensIn,
      tokensOut: before.tokensOut + tokensOut,
      costMicros: before.costMicros + Math.round(costUsd * 1_000_000),
      maxLatencyMs: Math.max(before.maxLatencyMs, latencyMs),
    })
  }
  return [...windows.values()]
}

const lines = (totals: readonly WindowTotals[]) => totals.map((window) => JSON.stringify(window)).sort()
const outputsOf = async (requests: readonly LlmRequest[]) =>
  (await testJob(tokenUsage(10 * MINUTE_MS), requests)).outputs

const requests = fc.array(
  fc.record({
    timestampMs: fc.integer({ min: -3 * MINUTE_MS, max: 3 * MINUTE_MS }),
    model: fc.string({ unit: fc.constantFrom('\0', '\x01', '\xff', 'a', 'é', '😀'), maxLength: 4 }),
    tenant: fc.string({ unit: fc.constantFrom('\0', '\x01', '\xff', 'a', 'é', '😀'), maxLength: 4 }),
    tokensIn: fc.nat(10_000),
    tokensOut: fc.nat(10_000),
    costUsd: fc.double({ min: 0, max: 10, noNaN: true }),
    latencyMs: fc.integer({ min: 0, max: 100_000 }),
  }),
  { maxLength: 40 },
)

describe('the job', () => {
  it('adds up by minute, model and tenant', async () => {
    const startMs = Math.floor(base.timestampMs / MINUTE_MS) * MINUTE_MS
    const outputs = await outputsOf([
      base,
      { ...base, latencyMs: 90, costUsd: 0.1 },
      { ...base, timestampMs: startMs + MINUTE_MS - 1, latencyMs: 1 },
      { ...base, timestampMs: startMs + MINUTE_MS },
      { ...base, model: 'other' },
    ])
    const one = { tenant: 't', count: 1, tokensIn: 10, tokensOut: 5, costMicros: 250_000, maxLatencyMs: 40 }
    expect(outputs).toEqual([
      {
        ...one,
        startMs,
        model: 'm',
        count: 3,
        tokensIn: 30,
        tokensOut: 15,
        costMicros: 600_000,
        maxLatencyMs: 90,
      },
      { ...one, startMs, model: 'other' },
      { ...one, startMs: startMs + MINUTE_MS, model: 'm' },
    ])
  })

  it('agrees with a plain map, whatever the names are, in whatever order requests come', async () => {
    await fc.assert(
      fc.asyncProperty(requests, async (all) => {
        const outputs = await outputsOf(all)
        expect(lines(outputs)).toEqual(lines(addedUp(all)))
        // The order of the results too is that of their times and keys alone.
        expect(await outputsOf([...all].reverse())).toEqual(outputs)
      }),
      { numRuns: 30 },
    )
  })

  it('refuses sums that would no longer be exact, and requests that come too late', async () => {
    await expect(outputsOf([{ ...base, tokensIn: Number.MAX_SAFE_INTEGER - 5 }, base])).rejects.toThrow(/sum/)
    await using test = await JobTest.start(tokenUsage(0))
    await test.send(base, { ...base, timestampMs: base.timestampMs + 20 * MINUTE_MS })
    await expect(test.send(base)).rejects.toThrow(/--disorder/)
  })
})

describe('a worker', () => {
  const options = { seed: 5, events: 4_000 }
  let directory: string
  let task: WorkerTask

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'holdfast-job-unit-'))
    task = {
      source: { kind: 'generator', ...options },
      backend: 'memory',
      name: 'unit',
      directory,
      saveEveryMs: 20,
      batchSize: 50,
      eventsPerSecond: 16_000,
    }
  })
  afterEach(() => rm(directory, { recursive: true }))

  it('puts out what the requests add up to, and goes on where the last checkpoint is', async () => {
    const all: LlmRequest[] = []
    const source = new GeneratorSource(options)
    for await (const batch of source.batches(source.start, 1_000)) all.push(...batch.events)
    const messages: WorkerMessage[] = []
    const first = await runTask(task, (message) => messages.push(message))
    const text = await readFile(join(directory, 'results.ndjson'), 'utf8')
    expect(text.trimEnd().split('\n').sort()).toEqual(lines(addedUp(all)))
    expect(messages[0]).toEqual({ type: 'started' })
    expect(messages.some(({ type }) => type === 'checkpoint')).toBe(true)

    const later: WorkerMessage[] = []
    const second = await runTask(task, (message) => later.push(message))
    expect(later[0]).toMatchObject({ type: 'started', restored: { events: 4_000 } })
    expect(later.filter(({ type }) => type === 'progress')).toEqual([])
    expect(second).toMatchObject({ events: 4_000, digest: first.digest, windows: first.windows })
  })

  it('closes the windows of a file by the disorder that is named', async () => {
    const path = join(directory, 'input.csv')
    const row = (second: number) => `${1_700_000_000 + second},m,t,1,2`
    await writeFile(
      path,
      ['timestampMs,model,tenant,tokensIn,tokensOut', row(0), row(600), row(5)].join('\n'),
    )
    const file = { ...task, source: { kind: 'file', path, columns: {} } as const, batchSize: 1 }
    await expect(
      runTask({ ...file, source: { ...file.source, disorderMs: 1_000 } }, () => {}),
    ).rejects.toMatchObject({ code: 'JOB_FAILED', cause: { name: 'InputError' } })
    await rm(join(directory, 'checkpoints'), { recursive: true })
    await rm(join(directory, 'results.ndjson'))
    await rm(join(directory, 'results.ndjson.start'))
    expect(await runTask(file, () => {})).toMatchObject({ events: 3, windows: 2 })
  })
})

describe('positionFrom', () => {
  it('takes what a checkpoint of this job holds, and nothing else', () => {
    const position: SourcePosition = { events: 3, skippedLines: 0, file: { byteOffset: 9, line: 2 } }
    expect(positionFrom(JSON.parse(JSON.stringify(position)))).toEqual(position)
    const wrong = [
      undefined,
      null,
      7,
      [],
      {},
      { events: -1, skippedLines: 0 },
      { ...position, file: { line: 1 } },
    ]
    for (const stored of wrong) expect(() => positionFrom(stored)).toThrow('no position of this job')
  })
})
