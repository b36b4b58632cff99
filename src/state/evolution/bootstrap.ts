import { throwIfAborted } from '../../base/abort.js'
import { invalidArgument, rejectViolations, rules, violationsOf } from '../../base/options.js'
import { nextTurn } from '../../base/slices.js'
import type { Host } from '../entries/host.js'
import { EntryListState } from '../kinds/list-state.js'
import { EntryMapState } from '../kinds/map-state.js'
import type { OpenState } from '../open-state.js'

/** How the filling of a state is ended early, and who is told of it meanwhile. */
export interface BootstrapOptions {
  /** Ends it with `ABORTED` between two batches. */
  readonly signal?: AbortSignal
  /** Called after every batch with how many items were written. */
  readonly onProgress?: (items: number) => void
}

const BATCH_ITEMS = 512

/** Fills a state that is empty, in batches; resolves with how many items there were. */
export async function bootstrapState(
  host: Host,
  open: OpenState,
  items: Iterable<readonly unknown[]> | AsyncIterable<readonly unknown[]>,
  options?: BootstrapOptions,
): Promise<number> {
  rejectViolations(violationsOf(options, { signal: rules.signal, onProgress: rules.function }))
  if (!(await isEmpty(open))) throw invalidArgument('state', `'${open.name}' must be empty to be filled`)
  let count = 0
  let batch: (readonly unknown[])[] = []
  const write = async () => {
    throwIfAborted(options?.signal, 'bootstrap')
    await writeBatch(host, open, batch)
    count += batch.length
    batch = []
    options?.onProgress?.(count)
    await nextTurn()
  }
  for await (const item of items) {
    batch.push(item)
    if (batch.length >= BATCH_ITEMS) await write()
  }
  if (batch.length > 0) await write()
  return count
}

async function isEmpty({ state }: OpenState): Promise<boolean> {
  const all = state instanceof EntryMapState ? state.all({ limit: 1 }) : state.entries({ limit: 1 })
  for await (const _ of all as AsyncIterable<unknown>) return false
  return true
}

async function writeBatch(
  host: Host,
  { state }: OpenState,
  items: readonly (readonly unknown[])[],
): Promise<void> {
  const put = ([key, first, second]: readonly unknown[]) => {
    if (state instanceof EntryListState) return state.append(key, first)
    return state instanceof EntryMapState ? state.put(key, first, second) : state.put(key, first)
  }
  if (host.later === undefined) {
    host.batch(() => {
      for (const item of items) put(item)
    })
    return
  }
  await host.batch(async () => {
    for (const item of items) await put(item)
  })
}
