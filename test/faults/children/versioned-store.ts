// One store in three versions of its program, for what is killed while it migrates.

import type { SyncStateBackend } from '../../../src/backend/state-backend.js'
import { LmdbStateBackend } from '../../../src/lmdb/lmdb-state-backend.js'
import {
  aggregating,
  defineState,
  from,
  index,
  int64,
  json,
  list,
  map,
  StateStore,
  struct,
  uint32,
  utf8,
  value,
} from '../../../src/state.js'

export const ENTRIES = 800

interface Named {
  readonly name: string
}

const one = {
  total: aggregating(struct({ euros: uint32 }), (total, by: number) => {
    total.euros += by
  }),
  user: value(json<Named>()),
  steps: list(uint32),
  hours: map(uint32, uint32),
}

/** Before `one`: it knows less than what that has written. */
export const version0 = defineState({ key: utf8, keyGroups: 8, states: { total: one.total } })
export const version1 = defineState({ key: utf8, keyGroups: 8, states: one })
export const version3 = defineState({
  key: utf8,
  keyGroups: 8,
  states: {
    total: aggregating(
      struct({ cents: int64 }),
      (total, by: number) => {
        total.cents += by
      },
      { migrations: [from(struct({ euros: uint32 }), ({ euros }) => ({ cents: euros * 100 }))] },
    ),
    profile: value(json<{ first: string; last: string }>(), {
      renamedFrom: 'user',
      migrations: [
        ({ name }: Named) => name.split(' '),
        ([first = '', last = '']: string[]) => ({ first, last }),
      ],
      indexes: { byLast: index(utf8, ({ last }: { last: string }) => last) },
    }),
    steps: list(utf8, { migrations: [from(uint32, String)] }),
    hours: map(uint32, uint32),
  },
})
/** What a process that only reads asks: an index, and a value that lives on when it is read. */
export const readers = defineState({
  key: utf8,
  keyGroups: 8,
  states: {
    total: one.total,
    profile: value(json<{ last: string }>(), {
      indexes: { byLast: index(utf8, ({ last }: { last: string }) => last) },
    }),
    visits: value(uint32, { ttl: { afterMs: 1_000_000, refresh: 'readWrite' } }),
  },
})
/** Another kind: only opening can migrate it. */
export const version4 = defineState({
  key: utf8,
  keyGroups: 8,
  states: {
    ...version3.states,
    steps: value(json<string[]>(), {
      version: 3,
      migrations: [from(version3.states.steps, (steps) => steps)],
    }),
  },
})

export const keyOf = (i: number): string => `key ${i}`

export async function fill(backend: SyncStateBackend): Promise<void> {
  const store = await StateStore.open(backend, version1)
  for (let i = 0; i < ENTRIES; i++) {
    store.batch(() => {
      store.total.add(keyOf(i), i)
      store.user.put(keyOf(i), { name: `Ann Lee${i % 10}` })
      store.steps.append(keyOf(i), i, i + 1)
      store.hours.put(keyOf(i), 1, i)
    })
  }
}

/**
 * Opens a store, migrates it, and dies by SIGKILL once as much of it as a page is durable: by itself, as a parent that is to do
 * it may be too late. argv: path, version, page.
 */
export async function migrate(path: string, version: string, lastPage: number): Promise<void> {
  const backend = await LmdbStateBackend.open({ path })
  let pages = 0
  const onProgress = () => {
    if (++pages === lastPage) void backend.flush().then(() => process.kill(process.pid, 'SIGKILL'))
  }
  const flushing = setInterval(() => void backend.flush(), 1)
  if (version === '4') await StateStore.open(backend, version4, { migrate: { onProgress } })
  else await (await StateStore.open(backend, version3)).migrate({ onProgress })
  clearInterval(flushing)
  await backend.close()
  process.stdout.write('done\n')
}
