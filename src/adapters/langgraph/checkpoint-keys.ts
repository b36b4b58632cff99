// Where LangGraph's checkpoints lie in a backend.
//
//   key := prefix · 0 · 'c' · 0 · thread · 0 · namespace · 0 · checkpoint                       -> checkpoint, metadata, parent
//   key := prefix · 0 · 'w' · 0 · thread · 0 · namespace · 0 · checkpoint · 0 · task · 0 · index -> channel, path, value
//
// (1) Ids of checkpoints sort by time (UUID 6), so the newest one of a thread is the last of its keys.

import { invalidArgument } from '../../engine.js'
import type { KeyRange, StateBackend } from '../../index.js'
import { KeySpace } from '../shared/key-space.js'
import { decodedValue } from '../shared/stored-value.js'

export type Typed = readonly [type: string, bytes: Uint8Array]

export interface StoredCheckpoint {
  readonly checkpoint: Typed
  readonly metadata: Typed
  readonly parent: string | undefined
}

export interface StoredWrite {
  readonly channel: string
  readonly path: string
  readonly value: Typed
}

export interface Place {
  readonly thread: string
  readonly namespace: string
  readonly id: string
}

const SEPARATOR = '\0'

/** Where checkpoints and writes lie in the backend. */
export class CheckpointKeys {
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
