import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { RemoteServer, ToyBackend } from '../../test/support/remote-engine.js'
import type { StateBackend } from '../backend/state-backend.js'
import { LmdbStateBackend } from '../lmdb/lmdb-state-backend.js'
import { utf8 } from '../state/codec/byte-strings.js'
import { uint32 } from '../state/codec/numbers.js'
import { value } from '../state/kinds/definitions.js'
import { defineState } from '../state/schema/define-state.js'
import { runJob } from './run-job.js'
import { functionSink } from './sink/function-sink.js'
import { arraySource } from './source/iterable-source.js'
import { mergedSource } from './source/merged-source.js'
import type { Positions, Source, SourceReader } from './source/source.js'

let folder: string
let backend: StateBackend

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdfast-told-'))
})

afterEach(async () => {
  await backend.close()
  await rm(folder, { recursive: true })
})

/** The source with another method of its reader. */
function withMethod<Event>(source: Source<Event>, method: Partial<SourceReader<Event>>): Source<Event> {
  return { ...source, open: async (options) => Object.assign(await source.open(options), method) }
}

describe.each([
  ['LMDB', () => LmdbStateBackend.open({ path: folder })],
  ['an asynchronous engine', async () => new ToyBackend(new RemoteServer())],
])('a source of a job on %s, which keeps its state itself', (_, open) => {
  const schema = defineState({ key: utf8, states: { last: value(uint32) } })

  it.each([
    ['without a sink', undefined],
    ['whose sink is given nothing', functionSink<never>({ write: () => {} })],
  ])('is told what it may let go of by a job %s', async (_kind, sink) => {
    backend = await open()
    const told: Positions[] = []
    const source = withMethod(arraySource([1, 2, 3]), {
      checkpointCompleted: async (positions) => void told.push(positions),
    })
    const job = await runJob({
      name: 'told',
      source,
      key: () => 'a',
      schema,
      process: (event: number, { state }) => state.last.put(event),
      backend,
      ...(sink !== undefined && { sink }),
    })
    await job.finished
    expect(told.at(-1)).toEqual({ '0': 3 })
  })

  it('needs checkpoints where it marks what is in a cut, also as one of several', async () => {
    backend = await open()
    const marking = withMethod(arraySource([1, 2, 3]), { prepareCut: async () => {} })
    for (const source of [marking, mergedSource({ plain: arraySource([1]), marking })]) {
      const refused = runJob({
        name: 'told',
        source,
        key: () => 'a',
        schema,
        process: (event: number, { state }) => state.last.put(event),
        backend,
      })
      await expect(refused).rejects.toMatchObject({
        code: 'INCOMPATIBLE',
        message: expect.stringContaining('without checkpoints'),
      })
    }
  })
})
