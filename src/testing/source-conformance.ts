import assert from 'node:assert/strict'
import type { PolledEvents, Positions, Source, SourceReader } from '../job/source/source.js'
import type { StorageSuiteRunner } from './storage-conformance.js'

/** A source for one test. Every partition has three events or more, and ends. */
export interface SourceFixture<Event> {
  readonly source: Source<Event>
  /** What it holds, in the order of each partition. */
  readonly events: { readonly [partition: string]: readonly Event[] }
  /** How long a poll may wait for what is there, in milliseconds; of a source on a busy server longer than the default of 200. */
  readonly waitMs?: number
  /** Removes everything. */
  dispose(): Promise<void>
}

const NONE: ReadonlySet<string> = new Set()
const DEFAULT_WAIT_MS = 200

/**
 * Checks what a job relies on in a {@link Source}: that it goes on from every position. `createFixture` is called once per test.
 *
 * @example
 * runSourceConformanceSuite({ describe, it }, 'MySource', () => openMyFixture())
 */
export function runSourceConformanceSuite<Event>(
  runner: StorageSuiteRunner,
  title: string,
  createFixture: () => Promise<SourceFixture<Event>>,
): void {
  const test = (name: string, body: (fixture: SourceFixture<Event>) => Promise<void>) =>
    runner.it(name, async () => {
      const fixture = await createFixture()
      try {
        await body(fixture)
      } finally {
        await fixture.dispose()
      }
    })
  const testOpen = (
    name: string,
    body: (reader: SourceReader<Event>, fixture: SourceFixture<Event>) => Promise<void>,
  ) =>
    test(name, async (fixture) => {
      const reader = await fixture.source.open({ positions: {} })
      try {
        await body(reader, fixture)
      } finally {
        await reader.close()
      }
    })
  runner.describe(`${title} keeps the contract of sources:`, () => {
    testOpen(
      'gives every event of every partition in its order, and tells the end of each once',
      async (reader, { events, waitMs = DEFAULT_WAIT_MS }) => {
        const { read, ended } = await readAll(reader, 1_000, waitMs)
        assert.deepEqual(read, events)
        assert.deepEqual(ended.toSorted(), Object.keys(events).toSorted())
        assert.deepEqual([...reader.partitions()].toSorted(), Object.keys(events).toSorted())
      },
    )

    testOpen(
      'gives no more events at once than are wanted',
      async (reader, { events, waitMs = DEFAULT_WAIT_MS }) => {
        const { read, most } = await readAll(reader, 2, waitMs)
        assert.deepEqual(read, events)
        assert.ok(most <= 2, `${most} at once`)
      },
    )

    test('goes on from each position, which is JSON and stays valid', async (fixture) => {
      const positions = await positionsOf(fixture)
      for (const [partition, all] of Object.entries(fixture.events)) {
        for (const [place, position] of (positions.get(partition) ?? []).entries()) {
          const start: Positions = { [partition]: JSON.parse(JSON.stringify(position)) }
          const reader = await fixture.source.open({ positions: start })
          const { read } = await readAll(reader, 1_000, fixture.waitMs ?? DEFAULT_WAIT_MS)
          await reader.close()
          assert.deepEqual(
            read[partition] ?? [],
            all.slice(place + 1),
            `behind event ${place} of ${partition}`,
          )
        }
      }
    })

    test('a reader that is closed unread has taken nothing, where the source may be opened ahead', async ({
      source,
      events,
      waitMs = DEFAULT_WAIT_MS,
    }) => {
      if (source.opensAhead === true) {
        const ahead = await source.open({ positions: {}, signal: new AbortController().signal })
        await ahead.close()
        await assert.rejects(source.open({ positions: {}, signal: AbortSignal.abort() }))
      }
      const reader = await source.open({ positions: {} })
      const { read } = await readAll(reader, 1_000, waitMs)
      await reader.close()
      assert.deepEqual(read, events)
    })

    testOpen(
      'gives nothing of a partition that is paused, and loses nothing of it',
      async (reader, { events, waitMs = DEFAULT_WAIT_MS }) => {
        const [first] = reader.partitions()
        const paused = new Set(first === undefined ? [] : [first])
        for (let i = 0; i < 3; i++) {
          const polled = await reader.poll({ maxEvents: 2, waitMs: 1, paused })
          assert.ok(polled.every(({ partition }) => partition !== first))
        }
        const rest = await reader.poll({ maxEvents: 1_000, waitMs, paused: NONE })
        const own = rest.find(({ partition }) => partition === first)
        if (own !== undefined)
          assert.deepEqual(own.events, events[own.partition]?.slice(0, own.events.length))
      },
    )

    testOpen('gives nothing after the end', async (reader, { waitMs = DEFAULT_WAIT_MS }) => {
      await readAll(reader, 1_000, waitMs)
      const polled = await reader.poll({ maxEvents: 10, waitMs: 1, paused: NONE })
      assert.ok(polled.every(({ events, hasEnded }) => events.length === 0 && hasEnded !== true))
    })

    test('ends a poll that is under way when it is closed', async ({ source, waitMs = DEFAULT_WAIT_MS }) => {
      const reader = await source.open({ positions: {} })
      const paused = new Set(reader.partitions())
      const polling = [reader.poll({ maxEvents: 2, waitMs, paused: NONE })]
      await reader.close()
      await Promise.all(polling)
      assert.deepEqual(
        (await reader.poll({ maxEvents: 2, waitMs: 1, paused })).flatMap(({ events }) => events),
        [],
      )
    })

    test('may be closed twice', async ({ source }) => {
      const reader = await source.open({ positions: {} })
      await reader.close()
      await reader.close()
    })
  })
}

async function readAll<Event>(
  reader: SourceReader<Event>,
  maxEvents: number,
  waitMs: number,
  onPolled: (polled: PolledEvents<Event>) => void = () => {},
): Promise<{ read: { [partition: string]: Event[] }; ended: string[]; most: number }> {
  const read: { [partition: string]: Event[] } = {}
  const ended: string[] = []
  let most = 0
  while (ended.length < reader.partitions().length) {
    const polled = await reader.poll({ maxEvents, waitMs, paused: NONE })
    assert.ok(polled.length > 0, 'a poll told of no partition before the end of all')
    most = Math.max(
      most,
      polled.reduce((sum, { events }) => sum + events.length, 0),
    )
    for (const each of polled) {
      onPolled(each)
      if (each.events.length > 0) (read[each.partition] ??= []).push(...each.events)
      if (each.hasEnded === true) ended.push(each.partition)
    }
  }
  return { read, ended, most }
}

/** The position behind each event; asked for only when everything was read. */
async function positionsOf<Event>({
  source,
  waitMs = DEFAULT_WAIT_MS,
}: SourceFixture<Event>): Promise<Map<string, unknown[]>> {
  const reader = await source.open({ positions: {} })
  const polls: PolledEvents<Event>[] = []
  await readAll(reader, 3, waitMs, (polled) => polls.push(polled))
  await reader.close()
  const positions = new Map<string, unknown[]>()
  for (const { partition, events, positionAfter } of polls) {
    const all = positions.get(partition) ?? []
    positions.set(partition, all)
    for (const place of events.keys()) all.push(positionAfter(place))
  }
  return positions
}
