import { expect, it } from 'vitest'
import { MemoryStateBackend } from '../memory/memory-state-backend.js'
import { utf8 } from '../state/codec/byte-strings.js'
import { uint32 } from '../state/codec/numbers.js'
import { value } from '../state/kinds/definitions.js'
import { defineState } from '../state/schema/define-state.js'
import { MemoryCheckpointStorage } from '../storage/memory-checkpoint-storage.js'
import { ascending } from '../window/time/watermark-strategy.js'
import { runJob } from './run-job.js'
import type { PolledEvents, Positions, Source, SourceReader } from './source/source.js'

/** Two partitions, of which one is taken away, and may come back. */
class Rebalanced implements Source<number>, SourceReader<number> {
  readonly name = 'rebalanced'
  readonly acknowledged: Positions[] = []
  opened: Positions = {}
  owned = ['x', 'y']
  readonly steps: (() => readonly PolledEvents<number>[])[] = []

  async open({ positions }: { readonly positions: Positions }): Promise<this> {
    this.opened = positions
    return this
  }

  partitions(): readonly string[] {
    return this.owned
  }

  async poll(): Promise<readonly PolledEvents<number>[]> {
    const step = this.steps.shift()
    if (step !== undefined) return step()
    return this.owned.map((partition) => ({ ...polled(partition), hasEnded: true }))
  }

  async checkpointCompleted(positions: Positions): Promise<void> {
    this.acknowledged.push(positions)
  }

  async close(): Promise<void> {}
}

const polled = (partition: string, ...events: number[]): PolledEvents<number> => ({
  partition,
  events,
  positionAfter: (place) => `${partition}${events[place]}`,
})

it('J10: a partition that is taken away holds nothing back, is in no later cut, and is not acknowledged', async () => {
  const source = new Rebalanced()
  const storage = new MemoryCheckpointStorage()
  const seen: number[] = []
  const run = async () => {
    await using backend = new MemoryStateBackend()
    const job = await runJob({
      name: 'rebalanced',
      source,
      key: () => 'all',
      timestamp: (at) => at,
      time: { watermarks: ascending() },
      schema: defineState({ key: utf8, states: { count: value(uint32, { default: () => 0 }) } }),
      process: (at, { state, watermarkMs }) => {
        seen.push(at)
        state.count.update((before) => before + 1)
        if (at === 40) expect(watermarkMs).toBe(34)
      },
      backend,
      checkpoints: { storage },
    })
    return await job.finished
  }
  source.steps.push(
    () => [polled('x', 10), polled('y', 1)],
    () => [polled('x', 30)],
    () => {
      source.owned = ['x']
      // What was read of it in the same moment is somebody else's.
      return [polled('y', 2), polled('x', 35)]
    },
    () => [polled('x', 40)],
  )
  const stats = await run()
  expect(seen).toEqual([10, 1, 30, 35, 40])
  expect(stats.positions).toEqual({ x: 'x40' })
  expect(Object.keys(stats.partitions)).toEqual(['x'])
  expect(source.acknowledged.at(-1)).toEqual({ x: 'x40' })
  source.owned = ['x', 'y']
  source.steps.push(() => [polled('y', 3)])
  const next = await run()
  expect(source.opened).toEqual({ x: 'x40' })
  expect(next.positions).toEqual({ x: 'x40', y: 'y3' })
})
