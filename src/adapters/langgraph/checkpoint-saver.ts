// A saver of LangGraph's checkpoints, of the class that LangGraph's package has: what it does is in stored-threads.ts.

import { invalidArgument, requireSettings } from '../../engine.js'
import type { PutOptions, StateBackend } from '../../index.js'
import {
  type ChannelWrite,
  type Checkpoint,
  type Config,
  type LangGraphFunctions,
  type ListOptions,
  type SaverBase,
  StoredThreads,
  type Tuple,
} from './stored-threads.js'

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
export interface LangGraphCheckpointModule<Saver> extends LangGraphFunctions {
  readonly BaseCheckpointSaver: abstract new (...args: never[]) => Saver
}

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
  const { backend, prefix = 'langgraph', ttlMs, keepCheckpoints = Infinity } = checked(langgraph, options)
  const life: PutOptions = ttlMs === undefined ? {} : { ttlMs }

  class HoldfastSaver extends (langgraph.BaseCheckpointSaver as unknown as new () => SaverBase) {
    readonly #threads = new StoredThreads(langgraph, this, { backend, prefix, life, keepCheckpoints })

    getTuple(config: Config): Promise<Tuple | undefined> {
      return this.#threads.getTuple(config)
    }

    list(config: Config, listOptions?: ListOptions): AsyncGenerator<Tuple> {
      return this.#threads.list(config, listOptions)
    }

    put(config: Config, checkpoint: Checkpoint, metadata: object): Promise<Config> {
      return this.#threads.put(config, checkpoint, metadata)
    }

    putWrites(
      config: Config,
      writes: readonly ChannelWrite[],
      taskId: string,
      taskPath?: string,
    ): Promise<void> {
      return this.#threads.putWrites(config, writes, taskId, taskPath)
    }

    deleteThread(thread: string): Promise<void> {
      return this.#threads.deleteThread(thread)
    }
  }
  return new HoldfastSaver() as unknown as Saver
}

function checked(langgraph: object, options: CheckpointSaverOptions): CheckpointSaverOptions {
  requireSettings(options, ['backend'])
  const { keepCheckpoints, ttlMs } = options
  if (typeof (langgraph as { BaseCheckpointSaver?: unknown } | undefined)?.BaseCheckpointSaver !== 'function')
    throw invalidArgument('langgraph', 'must be @langchain/langgraph-checkpoint')
  if (
    keepCheckpoints !== undefined &&
    keepCheckpoints !== Infinity &&
    !(Number.isInteger(keepCheckpoints) && keepCheckpoints > 0)
  )
    throw invalidArgument('options.keepCheckpoints', 'must be a whole number of at least 1')
  if (ttlMs !== undefined && !(typeof ttlMs === 'number' && ttlMs > 0))
    throw invalidArgument('options.ttlMs', 'must be a positive number of milliseconds or Infinity')
  return options
}
