// LangGraph's checkpoints in a backend.
//
//   key := prefix · 0 · 'c' · 0 · thread · 0 · namespace · 0 · checkpoint                       -> checkpoint, metadata, parent
//   key := prefix · 0 · 'w' · 0 · thread · 0 · namespace · 0 · checkpoint · 0 · task · 0 · index -> channel, path, value
//
// (1) Ids of checkpoints sort by time (UUID 6), so the newest one of a thread is the last of its keys.
// (2) What is put is one batch with the removal of what is older than is to be kept, with the writes that belong to it.
// (3) Changes of a thread happen one after the other, in the order of the calls, with values as they were then, by all savers of a process over one
//     backend. Another process may still write to a checkpoint that is pruned, or put one at the same time: what is older than the oldest
//     one that is to stay goes with the next that is put.
// (4) A write of a task that is there already stays as it is, whichever process has written it; those of errors and interrupts (an index below 0) are replaced.

import { invalidArgument, requireSettings } from '../../engine.js'
import { isStateError, type KeyRange, type PutOptions, type StateBackend, WriteBatch } from '../../index.js'
import { KeySpace } from '../shared/key-space.js'
import { decodedValue, encodedValue } from '../shared/stored-value.js'

export interface CheckpointSaverOptions {
  /** Any backend; it stays the caller's to close. */
  readonly backend: StateBackend
  /** Keeps the checkpoints apart from what else is in the backend; without zero bytes. Default `'langgraph'`. */
  readonly prefix?: string
  /** A checkpoint, and what a task wrote, is removed so many milliseconds after it was written; positive or Infinity. Default: the backend's. */
  readonly ttlMs?: number
  /**
   * So many of the newest checkpoints of a thread and namespace stay. Default: all. A graph whose channels keep changes only
   * (`DeltaChannel`) needs those back to the last whole value.
   */
  readonly keepCheckpoints?: number
}

/** What of `@langchain/langgraph-checkpoint` is used. */
export interface LangGraphCheckpointModule<Saver> {
  readonly BaseCheckpointSaver: abstract new (...args: never[]) => Saver
  readonly WRITES_IDX_MAP: { readonly [channel: string]: number }
  copyCheckpoint(checkpoint: never): object
  maxChannelVersion(...versions: never[]): unknown
  writesSortKey(taskPath: string, taskId?: string, index?: number): readonly [string, string, number]
  compareWritesSortKeys(
    left: readonly [string, string, number],
    right: readonly [string, string, number],
  ): number
}

interface Config {
  readonly configurable?: {
    readonly thread_id?: string
    readonly checkpoint_ns?: string
    readonly checkpoint_id?: string
  }
}

interface Checkpoint {
  readonly v: number
  readonly id: string
  channel_values: { [channel: string]: unknown }
  channel_versions: { [channel: string]: unknown }
}

interface Tuple {
  readonly config: Config
  readonly checkpoint: Checkpoint
  readonly metadata: object
  readonly pendingWrites: (readonly [task: string, channel: string, value: unknown])[]
  readonly parentConfig?: Config
}

interface ListOptions {
  readonly limit?: number
  readonly before?: Config
  readonly filter?: { readonly [name: string]: unknown }
}

/** What a saver has of its base class. */
interface SaverBase {
  readonly serde: {
    dumpsTyped(value: unknown): Promise<readonly [type: string, bytes: Uint8Array]>
    loadsTyped(type: string, bytes: Uint8Array | string): Promise<unknown>
  }
  getNextVersion(current: undefined): unknown
}

type Typed = readonly [type: string, bytes: Uint8Array]

interface StoredCheckpoint {
  readonly checkpoint: Typed
  readonly metadata: Typed
  readonly parent: string | undefined
}

interface StoredWrite {
  readonly channel: string
  readonly path: string
  readonly value: Typed
}

interface Place {
  readonly thread: string
  readonly namespace: string
  readonly id: string
}

/** The channel of messages between nodes, in checkpoints of before version 4. */
const TASKS = '__pregel_tasks'
const SEPARATOR = '\0'

/**
 * A checkpoint saver for LangGraph, of the class that its package has: pass the package in. Checkpoints are as durable as the backend,
 * are really removed when their life is over, and only so many of each thread are kept where that is asked for.
 *
 * @example
 * import * as langgraph from '@langchain/langgraph-checkpoint'
 * const checkpointer = checkpointSaver(langgraph, { backend, keepCheckpoints: 20, ttlMs: 30 * 86_400_000 })
 * const graph = builder.compile({ checkpointer })
 */
export function checkpointSaver<Saver>(
  langgraph: LangGraphCheckpointModule<Saver>,
  options: CheckpointSaverOptions,
): Saver {
  requireSettings(options, ['backend'])
  if (typeof langgraph?.BaseCheckpointSaver !== 'function')
    throw invalidArgument('langgraph', 'must be @langchain/langgraph-checkpoint')
  const { backend, prefix = 'langgraph', ttlMs, keepCheckpoints = Infinity } = options
  if (keepCheckpoints !== Infinity && !(Number.isInteger(keepCheckpoints) && keepCheckpoints > 0))
    throw invalidArgument('options.keepCheckpoints', 'must be a whole number of at least 1')
  if (ttlMs !== undefined && !(typeof ttlMs === 'number' && ttlMs > 0))
    throw invalidArgument('options.ttlMs', 'must be a positive number of milliseconds or Infinity')
  const life: PutOptions = ttlMs === undefined ? {} : { ttlMs }
  const store = new CheckpointKeys(backend, prefix)
  const turns = turnsOf(backend)

  class HoldfastSaver extends (langgraph.BaseCheckpointSaver as unknown as new () => SaverBase) {
    async getTuple(config: Config): Promise<Tuple | undefined> {
      const {
        thread_id: thread,
        checkpoint_ns: namespace = '',
        checkpoint_id: id,
      } = config.configurable ?? {}
      if (thread === undefined) return undefined
      if (id !== undefined && id !== '') return await this.#tuple({ thread, namespace, id }, config)
      // The newest one may be pruned before it is read: then there is a newer one, or the thread was deleted.
      let missed: string | undefined
      for (;;) {
        const newest = (await store.ids(thread, namespace)).at(-1)
        if (newest === undefined || newest.id === missed) return undefined
        const tuple = await this.#tuple(newest)
        if (tuple !== undefined) return tuple
        missed = newest.id
      }
    }

    async *list(
      config: Config,
      { limit = Infinity, before, filter = {} }: ListOptions = {},
    ): AsyncGenerator<Tuple> {
      const { thread_id: thread, checkpoint_ns: namespace, checkpoint_id: id } = config.configurable ?? {}
      const beforeId = before?.configurable?.checkpoint_id
      let left = limit
      for (const place of (await store.ids(thread, namespace)).reverse()) {
        if (left <= 0) return
        if (id !== undefined && id !== '' && place.id !== id) continue
        if (namespace !== undefined && place.namespace !== namespace) continue
        if (beforeId !== undefined && place.id >= beforeId) continue
        const tuple = await this.#tuple(place)
        if (tuple === undefined) continue
        const metadata = tuple.metadata as { readonly [name: string]: unknown }
        if (!Object.entries(filter).every(([name, value]) => metadata[name] === value)) continue
        left--
        yield tuple
      }
    }

    async put(config: Config, checkpoint: Checkpoint, metadata: object): Promise<Config> {
      const { thread_id, checkpoint_ns: namespace = '', checkpoint_id: parent } = config.configurable ?? {}
      const thread = given(thread_id, 'thread_id')
      const place = { thread, namespace, id: checkpoint.id }
      const dumped = Promise.all([
        this.serde.dumpsTyped(langgraph.copyCheckpoint(checkpoint as never)),
        this.serde.dumpsTyped(metadata),
      ])
      await turns.run(store.threadId(thread), dumped, async ([checkpointBytes, metadataBytes]) => {
        const stored: StoredCheckpoint = { checkpoint: checkpointBytes, metadata: metadataBytes, parent }
        const batch = new WriteBatch().put(store.checkpointKey(place), encodedValue(stored), life)
        if (keepCheckpoints !== Infinity) await this.#prune(batch, place)
        await backend.write(batch)
      })
      return configOf(place)
    }

    async putWrites(
      config: Config,
      writes: readonly (readonly [channel: string, value: unknown])[],
      taskId: string,
      taskPath: string = '',
    ): Promise<void> {
      const { thread_id, checkpoint_ns: namespace = '', checkpoint_id } = config.configurable ?? {}
      const place = {
        thread: given(thread_id, 'thread_id'),
        namespace,
        id: given(checkpoint_id, 'checkpoint_id'),
      }
      const channels = writes.map(([channel]) => channel)
      const values = Promise.all(writes.map(([, value]) => this.serde.dumpsTyped(value)))
      const write = async (dumped: readonly StoredWrite['value'][]): Promise<void> => {
        const batch = new WriteBatch()
        for (const [i, value] of dumped.entries()) {
          const channel = channels[i] as string
          // Names of channels are the graph's: `constructor` is one like others.
          const isOwn = Object.hasOwn(langgraph.WRITES_IDX_MAP, channel)
          const index = isOwn ? (langgraph.WRITES_IDX_MAP[channel] as number) : i
          const key = store.writeKey(place, taskId, index)
          if (index >= 0) {
            if (await backend.contains(key)) continue
            batch.expect(key, undefined)
          }
          const stored: StoredWrite = { channel, path: taskPath, value }
          batch.put(key, encodedValue(stored), life)
        }
        await backend.write(batch)
      }
      await turns.run(store.threadId(place.thread), values, async (dumped) => {
        for (;;) {
          try {
            return await write(dumped)
          } catch (error) {
            // Another process has written one of them since it was looked for: that one is there now.
            if (!isStateError(error, 'CONCURRENT_MODIFICATION')) throw error
          }
        }
      })
    }

    async deleteThread(thread: string): Promise<void> {
      const batch = new WriteBatch()
      for (const range of store.threadRanges(thread)) batch.deleteRange(range)
      await turns.run(store.threadId(thread), undefined, () => backend.write(batch))
    }

    /** Removes in a batch what is older than is to be kept once a checkpoint is put. */
    async #prune(batch: WriteBatch, put: Place): Promise<void> {
      const others = (await store.ids(put.thread, put.namespace)).filter(({ id }) => id !== put.id)
      const gone = Math.max(0, others.length + 1 - keepCheckpoints)
      for (const old of others.slice(0, gone))
        batch.delete(store.checkpointKey(old)).deleteRange({ prefix: store.writesPrefix(old) })
      const oldest = others[gone]
      batch.deleteRange(store.writesBefore(oldest === undefined || put.id < oldest.id ? put : oldest))
    }

    async #tuple(place: Place, config: Config = configOf(place)): Promise<Tuple | undefined> {
      const stored = decodedValue(await backend.get(store.checkpointKey(place))) as
        | StoredCheckpoint
        | undefined
      if (stored === undefined) return undefined
      const { parent } = stored
      const checkpoint = (await this.serde.loadsTyped(...stored.checkpoint)) as Checkpoint
      if (checkpoint.v < 4 && parent !== undefined)
        await this.#addPendingSends(checkpoint, { ...place, id: parent })
      const pendingWrites = await this.#writes(place)
      // They go with their checkpoint, maybe since that was read.
      if (pendingWrites.length === 0 && !(await backend.contains(store.checkpointKey(place))))
        return undefined
      return {
        config,
        checkpoint,
        metadata: (await this.serde.loadsTyped(...stored.metadata)) as object,
        pendingWrites,
        ...(parent === undefined ? {} : { parentConfig: configOf({ ...place, id: parent }) }),
      }
    }

    /** In the order in which a run applies them. */
    async #writes(place: Place): Promise<(readonly [string, string, unknown])[]> {
      const found = (await store.writes(place)).map(({ task, index, stored }) => {
        return { task, stored, order: langgraph.writesSortKey(stored.path, task, index) }
      })
      found.sort((left, right) => langgraph.compareWritesSortKeys(left.order, right.order))
      return await Promise.all(
        found.map(async ({ task, stored: { channel, value } }) => {
          return [task, channel, await this.serde.loadsTyped(...value)] as const
        }),
      )
    }

    /** What LangGraph does with checkpoints that older versions of it wrote. */
    async #addPendingSends(checkpoint: Checkpoint, parent: Place): Promise<void> {
      const sends = (await this.#writes(parent)).filter(([, channel]) => channel === TASKS)
      checkpoint.channel_values ??= {}
      checkpoint.channel_values[TASKS] = sends.map(([, , value]) => value)
      checkpoint.channel_versions ??= {}
      const versions = Object.values(checkpoint.channel_versions) as never[]
      checkpoint.channel_versions[TASKS] =
        versions.length > 0 ? langgraph.maxChannelVersion(...versions) : this.getNextVersion(undefined)
    }
  }
  return new HoldfastSaver() as unknown as Saver
}

const configOf = ({ thread, namespace, id }: Place): Config => ({
  configurable: { thread_id: thread, checkpoint_ns: namespace, checkpoint_id: id },
})

function given(value: string | undefined, name: string): string {
  if (value === undefined || value === '')
    throw invalidArgument(`config.configurable.${name}`, 'is required: it says whose checkpoint this is')
  return value
}

/** Savers over one backend take turns: each reads before it writes. */
const turnsByBackend = new WeakMap<StateBackend, Turns>()

function turnsOf(backend: StateBackend): Turns {
  const turns = turnsByBackend.get(backend) ?? new Turns()
  turnsByBackend.set(backend, turns)
  return turns
}

/** Changes of each thread one after the other, in the order of the calls. */
class Turns {
  readonly #last = new Map<string, Promise<unknown>>()

  /** Makes a change with what it needs, once all before it have ended. */
  async run<Needed>(
    thread: string,
    needed: Needed | Promise<Needed>,
    change: (needed: Needed) => Promise<void>,
  ): Promise<void> {
    // What is waited for together has a listener from the start, should it fail while others have their turn.
    const before = this.#last.get(thread)
    const result = Promise.all([needed, before]).then(([it]) => change(it))
    // Whoever comes next begins after a change that fails, too, and after those before it.
    const ended = Promise.allSettled([before, result])
    this.#last.set(thread, ended)
    try {
      await result
    } finally {
      await ended
      if (this.#last.get(thread) === ended) this.#last.delete(thread)
    }
  }
}

/** Where checkpoints and writes lie in the backend. */
class CheckpointKeys {
  readonly #backend: StateBackend
  readonly #prefix: string
  readonly #space: KeySpace

  constructor(backend: StateBackend, prefix: string) {
    this.#backend = backend
    this.#prefix = prefix
    this.#space = new KeySpace(prefix)
  }

  checkpointKey({ thread, namespace, id }: Place): Uint8Array {
    return this.#key(['c', thread, namespace, id])
  }

  writeKey({ thread, namespace, id }: Place, task: string, index: number): Uint8Array {
    return this.#key(['w', thread, namespace, id, task, String(index)])
  }

  writesPrefix({ thread, namespace, id }: Place): Uint8Array {
    return this.#key(['w', thread, namespace, id, ''])
  }

  /** What tasks wrote to checkpoints that are older than that one. */
  writesBefore({ thread, namespace, id }: Place): KeyRange {
    return { prefix: this.#key(['w', thread, namespace, '']), lt: this.#key(['w', thread, namespace, id]) }
  }

  /** Tells the thread from those of the same name with other prefixes. */
  threadId(thread: string): string {
    return `${this.#prefix}${SEPARATOR}${thread}`
  }

  threadRanges(thread: string): KeyRange[] {
    return ['c', 'w'].map((kind) => ({ prefix: this.#key([kind, thread, '']) }))
  }

  /** Checkpoints of a thread and a namespace, or of all, oldest first. */
  async ids(thread: string | undefined, namespace: string | undefined): Promise<Place[]> {
    const parts = thread === undefined ? [] : namespace === undefined ? [thread] : [thread, namespace]
    const keys = await this.#backend.listKeys(this.#key(['c', ...parts, '']))
    const places = keys.map((key) => {
      const [, ofThread = '', ofNamespace = '', id = ''] = this.#parts(key)
      return { thread: ofThread, namespace: ofNamespace, id }
    })
    return places.sort((left, right) => (left.id < right.id ? -1 : left.id > right.id ? 1 : 0))
  }

  async writes(place: Place): Promise<{ task: string; index: number; stored: StoredWrite }[]> {
    const found: { task: string; index: number; stored: StoredWrite }[] = []
    for await (const [key, value] of this.#backend.scan({ prefix: this.writesPrefix(place) })) {
      const [, , , , task = '', index = ''] = this.#parts(key)
      found.push({ task, index: Number(index), stored: decodedValue(value) as StoredWrite })
    }
    return found
  }

  #key(parts: readonly string[]): Uint8Array {
    for (const part of parts) {
      if (typeof part !== 'string' || part.includes(SEPARATOR))
        throw invalidArgument('config.configurable', 'has to have ids that are text without zero bytes')
    }
    return this.#space.storedText(parts.join(SEPARATOR))
  }

  #parts(key: Uint8Array): string[] {
    return new TextDecoder('utf-8', { ignoreBOM: true }).decode(this.#space.own(key)).split(SEPARATOR)
  }
}
