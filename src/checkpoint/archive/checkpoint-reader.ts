import { type EntryBlock, EntryBlockCursor } from '../../backend/entry-block.js'
import { capturedInterval, type KeyInterval, type KeyStretch } from '../../backend/scan-range.js'
import type { Entry, ScanRange } from '../../backend/types.js'
import { validateKey } from '../../backend/validate.js'
import { throwIfAborted } from '../../base/abort.js'
import { compareBytes } from '../../base/bytes.js'
import { StateError, type Violation } from '../../base/errors.js'
import { rejectViolations, rules, violationsOf } from '../../base/options.js'
import { nextTurn } from '../../base/slices.js'
import type { CodecOf } from '../../codec/block-codec.js'
import type { ObjectSource } from '../../storage/checkpoint-storage.js'
import { contentOf, type Manifest, metadataOf, type StoredManifest } from '../format/manifest.js'
import type { CheckpointMetadata, CheckpointOptions } from '../types.js'
import { stretchOf, wholeOf } from './checkpoint-stream.js'
import { type Access, type OpenSegments, openSegments } from './open-segments.js'

/** How long blocks may be handed on without letting the event loop run, in milliseconds. */
const TURN_MS = 2

const callRules = { signal: rules.signal }

/** What the archive knows about a failure: that the checkpoint was removed meanwhile, for one. */
export type Explain = (error: unknown) => Promise<unknown>

/**
 * One checkpoint, opened by {@link CheckpointArchive.open}, to be read several times. Errors are those of the archive; after
 * `close`, also `CLOSED`.
 */
export class CheckpointReader implements AsyncDisposable {
  readonly manifest: Manifest
  readonly checkpoint: CheckpointMetadata
  readonly #segments: OpenSegments
  readonly #explain: Explain
  #closing: Promise<void> | undefined

  /** For the archive: opens every segment and compares it with the manifest. */
  static async open(
    storage: ObjectSource,
    stored: StoredManifest,
    access: Access,
    codecOf: CodecOf,
    explain: Explain,
  ): Promise<CheckpointReader> {
    try {
      const segments = await openSegments(storage, stored.manifest.segments, access, codecOf)
      return new CheckpointReader(stored, segments, explain)
    } catch (error) {
      throw await explain(error)
    }
  }

  private constructor(stored: StoredManifest, segments: OpenSegments, explain: Explain) {
    this.manifest = stored.manifest
    this.checkpoint = metadataOf(stored)
    this.#segments = segments
    this.#explain = explain
  }

  /** The value of a key; `undefined` where there is none, or where it had expired when the checkpoint was made. */
  async get(key: Uint8Array, options?: CheckpointOptions): Promise<Uint8Array | undefined> {
    validateKey(key)
    rejectViolations(violationsOf(options, callRules))
    const from = new Uint8Array(key)
    const until = new Uint8Array(key.length + 1)
    until.set(from)
    for await (const cursor of this.#entries({ from, until }, options?.signal)) return cursor.value().slice()
    return undefined
  }

  /** The entries in range, in key order or, with `reverse`, from the largest key down. */
  scan(range?: ScanRange): AsyncIterableIterator<Entry> {
    return this.#scan(capturedInterval(range))
  }

  /**
   * The entries in range as packed blocks in key order, expiry included. A stream of everything ends normally only if all of
   * the checkpoint verified. `INVALID_ARGUMENT` for `reverse` and `limit`.
   */
  blocks(range?: ScanRange): AsyncIterableIterator<EntryBlock> {
    return this.#blocks(capturedStretch(range))
  }

  /** Idempotent. Never rejects. */
  async close(): Promise<void> {
    this.#closing ??= this.#segments.close()
    await this.#closing
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async *#scan(captured: () => KeyInterval): AsyncGenerator<Entry, void, undefined> {
    const interval = captured()
    let left = interval.limit
    if (left === 0) return
    const entries = interval.reverse ? this.#backwards(interval) : this.#forwards(interval)
    for await (const entry of entries) {
      throwIfAborted(interval.signal, 'scan')
      yield entry
      if (--left === 0) return
    }
  }

  async *#forwards(interval: KeyInterval): AsyncGenerator<Entry, void, undefined> {
    for await (const cursor of this.#entries(interval, interval.signal)) {
      yield [cursor.key().slice(), cursor.value().slice()]
    }
  }

  /** From the last stretch between two beginnings of blocks to the first: each is read forwards, and handed on backwards. */
  async *#backwards(interval: KeyInterval): AsyncGenerator<Entry, void, undefined> {
    const beginnings = await this.#beginningsIn(interval)
    let { until } = interval
    for (const from of beginnings.reverse()) {
      const entries: Entry[] = []
      for await (const cursor of this.#entries({ from, until }, interval.signal)) {
        entries.push([cursor.key().slice(), cursor.value().slice()])
      }
      yield* entries.reverse()
      until = from
    }
  }

  /** Where the interval begins, and every block in it, of any segment, in order. */
  async #beginningsIn({ from, until }: KeyStretch): Promise<Uint8Array[]> {
    this.#requireOpen()
    const keys = [from]
    for (const reader of this.#segments.readers) {
      const { blocks } = await this.#explained(reader.index())
      for (const { firstKey } of blocks) {
        const within =
          compareBytes(firstKey, from) > 0 && (until === undefined || compareBytes(firstKey, until) < 0)
        if (within) keys.push(firstKey)
      }
    }
    return keys.sort(compareBytes)
  }

  /** A cursor on each entry in the stretch that had not expired. */
  async *#entries(
    stretch: KeyStretch,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<EntryBlockCursor, void, undefined> {
    const { clockMs } = this.manifest
    for await (const { bytes } of this.#blocks(() => ({ ...stretch, signal }))) {
      const cursor = new EntryBlockCursor(bytes)
      while (cursor.next()) if (cursor.expiresAtMs > clockMs) yield cursor
    }
  }

  async *#blocks(
    captured: () => KeyStretch & { readonly signal: AbortSignal | undefined },
  ): AsyncGenerator<EntryBlock, void, undefined> {
    const { signal, ...stretch } = captured()
    this.#requireOpen()
    const { readers } = this.#segments
    const everything = stretch.from.length === 0 && stretch.until === undefined
    const blocks = everything
      ? wholeOf(readers, contentOf(this.manifest), signal)
      : stretchOf(readers, stretch, this.manifest.clockMs, signal)
    let turnBeganAtMs = performance.now()
    const next = blocks[Symbol.asyncIterator]()
    try {
      for (;;) {
        throwIfAborted(signal, 'read a checkpoint')
        const step = await this.#explained(next.next())
        if (step.done === true) return
        yield step.value
        this.#requireOpen()
        // Whatever is not read from a disk would otherwise hold the event loop from the first block to the last.
        if (performance.now() - turnBeganAtMs < TURN_MS) continue
        await nextTurn()
        turnBeganAtMs = performance.now()
      }
    } finally {
      await next.return?.()
    }
  }

  async #explained<Result>(reading: Promise<Result>): Promise<Result> {
    try {
      return await reading
    } catch (error) {
      if (this.#closing !== undefined) throw closed()
      throw await this.#explain(error)
    }
  }

  #requireOpen(): void {
    if (this.#closing !== undefined) throw closed()
  }
}

/** A range that is read in key order to its end. Taken as it is at the moment of the call; what is wrong with it comes when it is read. */
function capturedStretch(range: ScanRange | undefined): () => KeyInterval {
  const captured = capturedInterval(range)
  return () => {
    const interval = captured()
    const violations: Violation[] = []
    if (interval.reverse) violations.push({ argument: 'range.reverse', reason: 'is not possible for blocks' })
    if (interval.limit !== Infinity)
      violations.push({ argument: 'range.limit', reason: 'is not possible for blocks' })
    rejectViolations(violations)
    return interval
  }
}

function closed(): StateError<'CLOSED'> {
  return new StateError('CLOSED', { component: 'the reader of a checkpoint' })
}
