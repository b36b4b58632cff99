import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { utf8 } from '../../state/codec/byte-strings.js'
import { defineState } from '../../state/schema/define-state.js'
import { JobTest, testJob } from '../../testing/job-test.js'
import { ascending } from '../../window/time/watermark-strategy.js'
import { defineJob } from '../define-job.js'

interface Tick {
  readonly id: string
  readonly at: number
}

const job = (idleAfterMs?: number) =>
  defineJob<Tick, string>()({
    name: 'in order',
    key: () => 'all',
    timestamp: ({ at }) => at,
    time: { watermarks: ascending(), inOrder: true, ...(idleAfterMs !== undefined && { idleAfterMs }) },
    schema: defineState({ key: utf8, states: {} }),
    process: ({ id, at }, { emit }) => emit(`${id}${at}`),
    onBadEvent: ({ event }, emit) => emit(`bad ${event.id}`),
  })
const ticks = (id: string, ...times: number[]) => times.map((at) => ({ id, at }))

describe('partitions that are read in order', () => {
  it('T4: give the event with the least timestamp, of equal ones that of the partition whose name is first', async () => {
    const events = { x: ticks('x', 1, 4, 4, 9), y: ticks('y', 2, 3, 4, 12), z: ticks('z', 11) }
    const { outputs } = await testJob(job(), events)
    expect(outputs).toEqual(['x1', 'y2', 'y3', 'x4', 'x4', 'y4', 'x9', 'z11', 'y12'])
  })

  it('T5: wait for a partition that has nothing, until it is idle; what comes later is given at once', async () => {
    await using test = await JobTest.start(job(1_000), { startMs: 100, partitions: ['x', 'y'] })
    await test.sendTo('x', ...ticks('x', 1, 2))
    expect(test.outputs).toEqual([])
    await test.sendTo('y', ...ticks('y', 2))
    expect(test.takeOutputs()).toEqual(['x1', 'x2'])
    await test.sendTo('x', ...ticks('x', 5))
    expect(test.takeOutputs()).toEqual(['y2'])
    await test.advance(999)
    expect(test.takeOutputs()).toEqual([])
    await test.advance(1)
    expect(test.takeOutputs()).toEqual(['x5'])
    await test.sendTo('y', ...ticks('y', 3))
    expect(test.takeOutputs()).toEqual([])
    await test.sendTo('x', ...ticks('x', 6))
    expect(test.takeOutputs()).toEqual(['y3'])
    await test.end()
    expect(test.takeOutputs()).toEqual(['x6'])
  })

  it('J7: do not wait with an event that has no proper time', async () => {
    const { outputs } = await testJob(job(), { x: ticks('x', 5, 0.5, 7), y: ticks('y', 6) })
    expect(outputs).toEqual(['x5', 'bad x', 'y6', 'x7'])
  })

  it('J1: go on in order after a restart anywhere: what was read and not processed is read again', async () => {
    const stream = fc.array(fc.nat(50), { maxLength: 12 }).map((all) => all.sort((a, b) => a - b))
    await fc.assert(
      fc.asyncProperty(stream, stream, fc.nat(12), async (x, y, restartAt) => {
        await using test = await JobTest.start(job(), { partitions: ['x', 'y'] })
        await test.sendTo('x', ...ticks('x', ...x.slice(0, restartAt)))
        await test.sendTo('y', ...ticks('y', ...y.slice(0, restartAt)))
        await test.restart()
        await test.sendTo('x', ...ticks('x', ...x.slice(restartAt)))
        await test.sendTo('y', ...ticks('y', ...y.slice(restartAt)))
        await test.end()
        const all = [...ticks('x', ...x), ...ticks('y', ...y)].sort((left, right) => left.at - right.at)
        expect(test.outputs).toEqual(all.map(({ id, at }) => `${id}${at}`))
      }),
      { numRuns: 40 },
    )
  })

  it('have no part in alignment', async () => {
    const definition = job()
    const time = { watermarks: ascending(), inOrder: true, maxDriftMs: 5 }
    await expect(testJob({ ...definition, time }, [])).rejects.toThrow(/maxDriftMs/)
  })
})
