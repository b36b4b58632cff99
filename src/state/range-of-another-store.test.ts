// A range of key groups that is restored into another store: entries lie under the numbers of their states, which two stores of one program may
// have given otherwise.

import { describe, expect, it } from 'vitest'
import { CheckpointCoordinator } from '../checkpoint/coordinator/checkpoint-coordinator.js'
import { MemoryStateBackend } from '../memory/memory-state-backend.js'
import { MemoryCheckpointStorage } from '../storage/memory-checkpoint-storage.js'
import { utf8 } from './codec/byte-strings.js'
import { enumeration, uint32 } from './codec/numbers.js'
import { struct } from './codec/struct.js'
import { index, value } from './kinds/definitions.js'
import { defineState, type StateSchema } from './schema/define-state.js'
import { StateStore } from './store.js'

const GROUPS = { from: 0, until: 64 }

/** Restores a range of what one store has into another one; resolves the store as it is then. */
async function carriedOver<Schema extends StateSchema>(
  from: MemoryStateBackend,
  schema: Schema,
  into = new MemoryStateBackend(),
): Promise<StateStore<Schema>> {
  const storage = new MemoryCheckpointStorage()
  await using source = new CheckpointCoordinator(from, { storage })
  const { id } = await source.createCheckpoint()
  await source.shutdown()
  const store = (await StateStore.open(into, schema)) as StateStore<Schema>
  await using coordinator = new CheckpointCoordinator(into, { storage })
  const { range } = (store as { keyGroups(groups: object): { range: object } }).keyGroups(GROUPS)
  await coordinator.restore(id, { range })
  return (await StateStore.open(into, schema)) as StateStore<Schema>
}

/** A key of the groups that are restored. */
async function keyInRange(): Promise<string> {
  const schema = defineState({ key: utf8, states: { x: value(uint32) } })
  for (let i = 0; ; i++) {
    const backend = new MemoryStateBackend()
    const store = await StateStore.open(backend, schema)
    store.x.put(`k${i}`, 1)
    if (Array.from(backend.scanSync(store.keyGroups(GROUPS).range)).length > 0) return `k${i}`
  }
}

const states = { y: value(uint32), x: value(uint32) }

describe('a range of the key groups of another store', () => {
  it('is INCOMPATIBLE where that has numbered its states otherwise: one was read as the other, and the rest was lost', async () => {
    const key = await keyInRange()
    const evolved = new MemoryStateBackend()
    await StateStore.open(
      evolved,
      defineState({ key: utf8, states: { x: value(uint32), old: value(uint32) } }),
    )
    const store = await StateStore.open(evolved, defineState({ key: utf8, states, drop: ['old'] }))
    store.x.put(key, 1)
    store.y.put(key, 2)
    const into = new MemoryStateBackend()
    const before = await StateStore.open(into, defineState({ key: utf8, states }))
    before.y.put(key, 7)
    await expect(carriedOver(evolved, defineState({ key: utf8, states }), into)).rejects.toMatchObject({
      code: 'INCOMPATIBLE',
      message: expect.stringMatching(/state "y" under the number 3, which is none here/),
    })
    expect(before.y.get(key)).toBe(7)
  })

  it('is INCOMPATIBLE where it has states that are none here, another form, or other key groups', async () => {
    const one = new MemoryStateBackend()
    await StateStore.open(one, defineState({ key: utf8, states }))
    const others = [
      [defineState({ key: utf8, states: { y: value(uint32) } }), /state "x".*none here/],
      [
        defineState({ key: utf8, states: { x: states.x, y: states.y } }),
        /state "y" under the number 1, which is state "x" here/,
      ],
      [defineState({ key: utf8, states: { ...states, x: value(utf8) } }), /state "x".*another form/],
      [defineState({ key: uint32, states }), /another 'key'/],
      [defineState({ key: utf8, states, keyGroups: 64 }), /another 'keyGroups'/],
    ] as const
    for (const [schema, message] of others) {
      await expect(carriedOver(one, schema as never)).rejects.toMatchObject({
        code: 'INCOMPATIBLE',
        message: expect.stringMatching(message),
      })
    }
  })

  it('comes over where its states have the same numbers and forms, whatever else there is', async () => {
    const key = await keyInRange()
    const one = new MemoryStateBackend()
    const store = await StateStore.open(
      one,
      defineState({
        key: utf8,
        states: { s: value(struct({ n: uint32 })), e: value(enumeration('a')), x: value(uint32) },
      }),
    )
    store.x.put(key, 5)
    store.s.put(key, { n: 3 })
    const found = await carriedOver(
      one,
      defineState({
        key: utf8,
        states: {
          s: value(struct({ n: uint32, m: uint32 })),
          e: value(enumeration('a', 'b')),
          x: value(uint32, { indexes: { byX: index(uint32, (x: number) => x) } }),
          more: value(utf8),
        },
      }),
    )
    await found.migrate({ indexes: true })
    expect([found.x.get(key), found.s.get(key)]).toEqual([5, { n: 3, m: 0 }])
    expect([...found.x.query('byX')].map(({ entry }) => entry)).toEqual([[key, 5]])
  })
})
