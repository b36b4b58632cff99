// A part of a store: the states of a later stage of a job, which have a key of their own. Everything else is that of the whole store.

import { invalidArgument } from '../base/options.js'
import type { KeyCodec } from './codec/codec.js'
import type { Host } from './entries/host.js'
import type { BootstrapOptions } from './evolution/bootstrap.js'
import type { MigrateOptions } from './evolution/migrate.js'
import type { StorePlan } from './evolution/plan.js'
import { type EncodedKey, encodeKey, type KeyLike } from './key/stored-key.js'
import { StateContext } from './kinds/state-context.js'
import type { KeyGroupRange } from './kinds/states.js'
import type { OpenState } from './open-state.js'
import type { StateSchema } from './schema/define-state.js'
import type { RecordedSchema } from './schema/recorded-schema.js'

/** What layers above see of a store that was opened. */
export interface OpenedStore {
  readonly host: Host
  readonly schema: StateSchema
  readonly keyGroups: number
  readonly states: readonly OpenState[]
}

/** The methods of a store that are about all of it. */
export interface WholeStore {
  batch(body: () => unknown): unknown
  at(timestampMs: number): void
  readonly watermark: number
  readonly schema: RecordedSchema
  migrate(options?: MigrateOptions): Promise<void>
  plan(): Promise<StorePlan>
  bootstrap(
    state: string,
    items: Iterable<readonly unknown[]> | AsyncIterable<readonly unknown[]>,
    options?: BootstrapOptions,
  ): Promise<number>
  keyGroups(range: KeyGroupRange): unknown
}

/** A key of states that share one, in its encoded form. */
export function encodedKeyOf(context: StateContext<unknown>, key: unknown): EncodedKey<unknown> {
  try {
    return encodeKey(context.keyCodec, key, context.keyGroups)
  } catch (error) {
    throw context.failureOf('write', error, key)
  }
}

/** Removes what states have under a key, in one step. */
export function clearStates(
  states: readonly OpenState[],
  context: StateContext<unknown>,
  key: KeyLike<unknown>,
): unknown {
  const { host, storedKey } = context
  const kept = context.kept(key)
  const clear = () => {
    for (const { onClear } of states) onClear?.(kept)
    for (const { recorded, entries } of states) {
      try {
        storedKey.set(recorded.id, kept)
      } catch (error) {
        throw context.failureOf('write', error, kept)
      }
      if (recorded.kind === 'list' || recorded.kind === 'map') {
        entries.removeRange(storedKey.copy(), storedKey.end())
      } else {
        entries.remove(storedKey)
      }
    }
  }
  const { later } = host
  return host.batch(later === undefined ? clear : () => later.write(clear))
}

export class StorePart {
  readonly #whole: WholeStore
  readonly #content: OpenedStore
  readonly #prefix: string

  constructor(whole: WholeStore, content: OpenedStore, prefix: string) {
    this.#whole = whole
    this.#content = content
    this.#prefix = prefix
  }

  withStates(): this {
    for (const { name, state } of this.#content.states) {
      Object.defineProperty(this, name, { value: state, enumerable: true })
    }
    return Object.freeze(this)
  }

  get schema(): RecordedSchema {
    return this.#whole.schema
  }

  get watermark(): number {
    return this.#whole.watermark
  }

  at(timestampMs: number): void {
    this.#whole.at(timestampMs)
  }

  advanceWatermark(): never {
    throw invalidArgument('advanceWatermark', 'is that of the job')
  }

  batch(body: () => unknown): unknown {
    return this.#whole.batch(body)
  }

  migrate(options?: MigrateOptions): Promise<void> {
    return this.#whole.migrate(options)
  }

  plan(): Promise<StorePlan> {
    return this.#whole.plan()
  }

  bootstrap(
    state: string,
    items: Iterable<readonly unknown[]> | AsyncIterable<readonly unknown[]>,
    options?: BootstrapOptions,
  ): Promise<number> {
    return this.#whole.bootstrap(this.#prefix + state, items, options)
  }

  keyGroups(range: KeyGroupRange): unknown {
    return this.#whole.keyGroups(range)
  }

  key(key: unknown): EncodedKey<unknown> {
    return encodedKeyOf(this.#context(), key)
  }

  clear(key: KeyLike<unknown>): unknown {
    return clearStates(this.#content.states, this.#context(), key)
  }

  #context(): StateContext<unknown> {
    const { host, schema, keyGroups } = this.#content
    const codec = schema.key as unknown as KeyCodec<unknown>
    return new StateContext('(all)', 0, host, codec, keyGroups)
  }
}
