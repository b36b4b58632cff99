// Stages, time and cuts together, as programs use them.

import { describe, expect, it } from 'vitest'
import { MemoryStateBackend } from '../memory/memory-state-backend.js'
import { utf8 } from '../state/codec/byte-strings.js'
import { uint32 } from '../state/codec/numbers.js'
import { value } from '../state/kinds/definitions.js'
import { defineState } from '../state/schema/define-state.js'
import { MemoryCheckpointStorage } from '../storage/memory-checkpoint-storage.js'
import { JobTest, testJob } from '../testing/job-test.js'
import { count } from '../window/aggregate/ready-made.js'
import { tumbling } from '../window/assign/assigner.js'
import { globalWindows, session } from '../window/assign/by-key.js'
import { ascending } from '../window/time/watermark-strategy.js'
import { defineJob } from './define-job.js'
import { runJob } from './run-job.js'
import { functionSink } from './sink/function-sink.js'
import { arraySource } from './source/iterable-source.js'

interface View {
  readonly user: string
  readonly at: number
}

const view = (user: string, at: number): View => ({ user, at })
const noStates = defineState({ key: utf8, states: {} })

const views = {
  name: 'views',
  key: ({ user }: View) => user,
  timestamp: ({ at }: View) => at,
  time: { watermarks: ascending(), idleAfterMs: 1_000 },
  schema: noStates,
}

/** Views of each user in ten milliseconds, and how many users there were in each twenty. */
const usersOfTwenty = defineJob<View, string>()({
  ...views,
  windows: (of) => ({
    tens: of({ windows: tumbling({ sizeMs: 10 }), aggregate: count(), output: ({ key }) => key }),
  }),
}).pipe<string>()({
  name: 'users',
  key: () => 'all',
  schema: noStates,
  windows: (of) => ({
    twenties: of({
      windows: tumbling({ sizeMs: 20 }),
      aggregate: count(),
      output: ({ window, value: users }) => `until ${window.endMs}: ${users}`,
    }),
  }),
})

describe('stages, time and cuts', () => {
  it('J2: a job of several stages goes back to an earlier checkpoint with all of them', async () => {
    const storage = new MemoryCheckpointStorage()
    const counted = defineJob<View, string>()({
      ...views,
      schema: defineState({ key: utf8, states: { views: value(uint32, { default: () => 0 }) } }),
      process: (_, { state, key, emit }) => {
        state.views.update((before) => before + 1)
        emit(`${key} ${state.views.get()}`)
      },
    }).pipe<string>()({
      name: 'all',
      key: () => 'all',
      schema: defineState({ key: utf8, states: { seen: value(uint32, { default: () => 0 }) } }),
      process: (line, { state, emit }) => {
        state.seen.update((before) => before + 1)
        emit(`${line} of ${state.seen.get()}`)
      },
    })
    const events = [view('ann', 1), view('bob', 2), view('ann', 3), view('ann', 4)]
    const run = async (length: number, restoreFrom?: string) => {
      const ids: string[] = []
      const outputs: string[] = []
      await using backend = new MemoryStateBackend()
      const job = await runJob({
        ...counted,
        source: arraySource(events.slice(0, length)),
        sink: functionSink({
          write: (some: readonly { readonly id: string; readonly output: string }[]) => {
            ids.push(...some.map(({ id }) => id))
            outputs.push(...some.map(({ output }) => output))
          },
        }),
        backend,
        checkpoints: { storage, intervalMs: 60_000 },
        ...(restoreFrom !== undefined && { restoreFrom }),
      })
      await job.finished
      return { ids, outputs }
    }
    const first = await run(2)
    expect(first.outputs).toEqual(['ann 1 of 1', 'bob 1 of 2'])
    const second = await run(3)
    expect(second.outputs).toEqual(['ann 2 of 3'])
    const back = await run(4, 'chk-0000000001')
    expect(back.outputs).toEqual(['ann 2 of 3', 'ann 3 of 4'])
    expect(new Set([...first.ids, ...second.ids, ...back.ids]).size).toBe(5)
  })

  it('T5: a partition that is idle holds no stage back', async () => {
    await using test = await JobTest.start(usersOfTwenty, { startMs: 0, partitions: ['a', 'b'] })
    await test.sendTo('a', view('ann', 1), view('bob', 2), view('ann', 45))
    expect(test.takeOutputs()).toEqual([])
    await test.advance(500)
    await test.sendTo('a', view('ann', 46))
    expect(test.takeOutputs()).toEqual([])
    await test.advance(2_000)
    await test.sendTo('a', view('ann', 47))
    expect(test.takeOutputs()).toEqual(['until 20: 2'])
    await test.restart()
    await test.sendTo('b', view('eve', 48))
    await test.end()
    expect(test.takeOutputs()).toEqual(['until 60: 2'])
  })

  it('W12, W18: windows over one stream fire each by what it was told, and share nothing', async () => {
    const shown =
      (name: string) =>
      ({ value: found, pane }: { readonly value: unknown; readonly pane: { readonly kind: string } }) =>
        `${name} ${String(found)} ${pane.kind}`
    const job = defineJob<View, string>()({
      ...views,
      windows: (of) => ({
        plain: of({ windows: tumbling({ sizeMs: 10 }), aggregate: count(), output: shown('plain') }),
        early: of({
          windows: tumbling({ sizeMs: 10 }),
          aggregate: count(),
          early: { everyEvents: 2 },
          panes: 'discarding',
          output: shown('early'),
        }),
        late: of({
          windows: tumbling({ sizeMs: 10 }),
          aggregate: count(),
          allowedLatenessMs: 100,
          output: shown('late'),
        }),
        sessions: of({ windows: session({ gapMs: 5 }), aggregate: count(), output: shown('session') }),
        total: of({ windows: globalWindows(), aggregate: count(), output: shown('total') }),
      }),
    })
    await using test = await JobTest.start(job)
    await test.send(view('ann', 1), view('ann', 2), view('ann', 3))
    expect(test.takeOutputs()).toEqual(['early 2 early'])
    await test.restart()
    await test.send(view('ann', 30))
    expect(test.takeOutputs()).toEqual([
      'session 3 onTime',
      'plain 3 onTime',
      'early 1 onTime',
      'late 3 onTime',
    ])
    await test.send(view('ann', 4))
    expect(test.takeOutputs()).toEqual(['late 4 late'])
    expect(test.stats()).toMatchObject({ lateEvents: 3 })
    await test.end()
    expect(test.takeOutputs()).toContain('total 5 onTime')
  })

  it('T8: a job of one event gives the results of all of its stages', async () => {
    const { outputs } = await testJob(usersOfTwenty, [view('ann', 3)])
    expect(outputs).toEqual(['until 20: 1'])
  })
})
