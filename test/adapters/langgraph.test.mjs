// The suite of LangGraph itself, over both engines of this process, and what the saver has beyond it.

import * as langgraph from '@langchain/langgraph-checkpoint'
import { validate } from '@langchain/langgraph-checkpoint-validation'
import { MemoryStateBackend } from 'holdfast'
import { checkpointSaver } from 'holdfast/langgraph'
import { LmdbStateBackend } from 'holdfast/lmdb'
import { describe, expect, it } from 'vitest'

const backends = new WeakMap()
const engines = {
  memory: async () => new MemoryStateBackend(),
  lmdb: async () => await LmdbStateBackend.temporary(),
}

for (const [engine, open] of Object.entries(engines)) {
  validate({
    checkpointerName: `holdfast on ${engine}`,
    createCheckpointer: async () => {
      const backend = await open()
      const saver = checkpointSaver(langgraph, { backend })
      backends.set(saver, backend)
      return saver
    },
    destroyCheckpointer: (saver) => backends.get(saver).close(),
  })
}

const checkpointOf = (i) => ({
  ...langgraph.emptyCheckpoint(),
  id: `1ef4f797-8335-6428-8001-8a15037500${String(i).padStart(2, '0')}`,
})
const metadata = { source: 'loop', step: 1, parents: {} }
const config = { configurable: { thread_id: 'one', checkpoint_ns: '' } }

async function idsOf(saver, of = config) {
  const ids = []
  for await (const { checkpoint } of saver.list(of)) ids.push(checkpoint.id.slice(-2))
  return ids
}

describe('the checkpoints of a thread', () => {
  it('are pruned to the newest ones, with what tasks wrote; other threads and namespaces stay', async () => {
    const backend = new MemoryStateBackend()
    const saver = checkpointSaver(langgraph, { backend, keepCheckpoints: 2 })
    const other = { configurable: { thread_id: 'one', checkpoint_ns: 'inner' } }
    await saver.put(other, checkpointOf(0), metadata)
    for (let i = 1; i <= 5; i++) {
      const put = await saver.put(config, checkpointOf(i), metadata)
      await saver.putWrites(put, [['channel', i]], 'task')
    }
    expect(await idsOf(saver)).toEqual(['05', '04'])
    expect(await idsOf(saver, other)).toEqual(['00'])
    expect(await backend.count()).toBe(5)
    // One that is put again replaces itself, and nothing else.
    await saver.put(config, checkpointOf(5), metadata)
    expect(await idsOf(saver)).toEqual(['05', '04'])
    await backend.close()
  })

  it('are removed when their life is over', async () => {
    let nowMs = 1_000
    const backend = new MemoryStateBackend({ clock: { now: () => nowMs, setTimer: () => () => {} } })
    const saver = checkpointSaver(langgraph, { backend, ttlMs: 500 })
    const put = await saver.put(config, checkpointOf(1), metadata)
    await saver.putWrites(put, [['channel', 1]], 'task')
    expect((await saver.getTuple(config))?.pendingWrites).toEqual([['task', 'channel', 1]])
    nowMs += 500
    expect(await saver.getTuple(config)).toBeUndefined()
    expect(await idsOf(saver)).toEqual([])
    await backend.close()
  })

  it('of ids that begin alike are not those of each other', async () => {
    const backend = new MemoryStateBackend()
    const saver = checkpointSaver(langgraph, { backend })
    for (const thread of ['a', 'ab', '__proto__']) {
      await saver.put({ configurable: { thread_id: thread, checkpoint_ns: '' } }, checkpointOf(1), metadata)
    }
    await saver.deleteThread('a')
    expect(await saver.getTuple({ configurable: { thread_id: 'a' } })).toBeUndefined()
    expect(await saver.getTuple({ configurable: { thread_id: 'ab' } })).toBeDefined()
    expect(await saver.getTuple({ configurable: { thread_id: '__proto__' } })).toBeDefined()
    await expect(
      saver.put({ configurable: { thread_id: 'a\0b' } }, checkpointOf(1), metadata),
    ).rejects.toThrow('zero bytes')
    await expect(saver.put({}, checkpointOf(1), metadata)).rejects.toThrow('thread_id')
    await backend.close()
  })
})
