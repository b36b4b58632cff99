// Entries that come in any order, by key, in bounded memory: what has been gathered is sorted and written to a scratch file as a run,
// and in the end all runs are read side by side.
//
//   scratch := run*
//   run     := piece*
//   piece   := blockBytes u32 · keyBytes u16 · the key of the first entry · block      (numbers little-endian)
//   block   := entries as they lie in every block of entries
//
// (1) Keys strictly increase within a run. Of entries with the same key, the one that came last counts: within a run the others are
//     left out, and of several runs the newest one decides.
// (2) A block is read when the key of its first entry has its turn. It holds small entries, or a single large one: so of each run there
//     is little in memory, however large values are.

import { randomUUID } from 'node:crypto'
import { closeSync, openSync, readSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DEFAULT_BLOCK_BYTES, MAX_KEY_BYTES } from '../engine.js'
import { type EntryBlock, EntryBlockBuilder, EntryBlockCursor } from '../index.js'
import type { StoredEntry } from '../view/entries.js'
import { fileError } from '../view/file-failure.js'

export interface SorterSizes {
  /** Of the entries that are sorted in memory. */
  readonly runBytes: number
  /** Of the blocks of a run: an entry that is larger has one to itself. */
  readonly pieceBytes: number
}

const SIZES: SorterSizes = { runBytes: 16 * 1024 * 1024, pieceBytes: 32 * 1024 }

const PIECE_HEAD_BYTES = 6

/** To be closed. */
export class EntrySorter {
  readonly #scratch = new Scratch()
  readonly #pieceBytes: number
  readonly #gathered: EntryBlockBuilder
  readonly #runs: Run[] = []

  constructor({ runBytes, pieceBytes }: SorterSizes = SIZES) {
    this.#gathered = new EntryBlockBuilder(runBytes)
    this.#pieceBytes = pieceBytes
  }

  /** Takes a copy. An earlier entry with that key counts no more. */
  add({ key, value, expiresAtMs }: StoredEntry): void {
    this.#gathered.add(key, value, expiresAtMs)
    if (this.#gathered.full) this.#writeRun()
  }

  /** All entries in key order. To be iterated once, when all were added. */
  async *blocks(signal: AbortSignal): AsyncGenerator<EntryBlock, void, undefined> {
    if (this.#gathered.entryCount > 0) this.#writeRun()
    const queue = new RunQueue(this.#runs)
    const builder = new EntryBlockBuilder(DEFAULT_BLOCK_BYTES)
    for (let run = queue.first; run !== undefined; run = queue.first) {
      builder.addPlaced(run.entry())
      queue.skip(run.key)
      if (!builder.full) continue
      signal.throwIfAborted()
      yield builder.take()
    }
    signal.throwIfAborted()
    if (builder.entryCount > 0) yield builder.take()
  }

  /** Lets go of the scratch file. */
  close(): void {
    this.#scratch.close()
  }

  #writeRun(): void {
    const block = this.#gathered.take()
    const begin = this.#scratch.length
    const piece = new EntryBlockBuilder(this.#pieceBytes)
    for (const { start, end } of sortedEntries(block)) {
      const isLarge = end - start >= this.#pieceBytes
      if (isLarge && piece.entryCount > 0) this.#writePiece(piece.take())
      piece.addRun(block.bytes, start, end, 1)
      if (piece.full) this.#writePiece(piece.take())
    }
    if (piece.entryCount > 0) this.#writePiece(piece.take())
    this.#runs.push(new Run(this.#scratch, begin, this.#scratch.length, this.#runs.length))
  }

  #writePiece({ bytes }: EntryBlock): void {
    const cursor = new EntryBlockCursor(bytes)
    cursor.next()
    const head = Buffer.alloc(PIECE_HEAD_BYTES)
    head.writeUInt32LE(bytes.length)
    head.writeUInt16LE(cursor.keyLength, 4)
    this.#scratch.append(Buffer.concat([head, cursor.key(), bytes]))
  }
}

/** Where entries lie in a block, by their keys; of those with the same key the last one. One object for all: it is another entry after each step. */
function* sortedEntries({
  bytes,
  entryCount,
}: EntryBlock): Generator<{ readonly start: number; readonly end: number }, void, undefined> {
  const [starts, ends, keyStarts, keyEnds] = Array.from({ length: 4 }, () => new Uint32Array(entryCount))
  if (!starts || !ends || !keyStarts || !keyEnds) return
  const cursor = new EntryBlockCursor(bytes)
  for (let i = 0; cursor.next(); i++) {
    starts[i] = cursor.entryStart
    ends[i] = cursor.entryEnd
    keyStarts[i] = cursor.keyStart
    keyEnds[i] = cursor.valueStart
  }
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const compare = (left: number, right: number) =>
    buffer.compare(buffer, keyStarts[right], keyEnds[right], keyStarts[left], keyEnds[left])
  // The sort is stable: entries with the same key stay in the order in which they came.
  const order = Uint32Array.from({ length: entryCount }, (_, i) => i).sort(compare)
  const place = { start: 0, end: 0 }
  for (let i = 0; i < entryCount; i++) {
    const entry = order[i] as number
    const next = order[i + 1]
    if (next !== undefined && compare(entry, next) === 0) continue
    place.start = starts[entry] as number
    place.end = ends[entry] as number
    yield place
  }
}

/** A sorted run in the scratch file, and where it has been read to. */
class Run {
  /** A newer one decides where both have a key. */
  readonly age: number
  readonly #scratch: Scratch
  readonly #end: number
  #position: number
  /** Of the block at hand; `undefined` as long as it need not be read. */
  #cursor: EntryBlockCursor | undefined
  #blockBytes = 0
  /** A copy of its own. */
  #firstKey: Buffer = NO_BYTES

  constructor(scratch: Scratch, begin: number, end: number, age: number) {
    this.#scratch = scratch
    this.#position = begin
    this.#end = end
    this.age = age
    this.#readHead()
  }

  /** The key of the entry at hand. */
  get key(): Uint8Array {
    return this.#cursor === undefined ? this.#firstKey : this.#cursor.key()
  }

  /** The entry at hand, until the next step. */
  entry(): EntryBlockCursor {
    if (this.#cursor === undefined) {
      this.#cursor = new EntryBlockCursor(this.#scratch.read(this.#position, this.#blockBytes))
      this.#position += this.#blockBytes
      this.#cursor.next()
    }
    return this.#cursor
  }

  /** Moves to the next entry; false at the end. */
  next(): boolean {
    if (this.entry().next()) return true
    this.#cursor = undefined
    if (this.#position === this.#end) return false
    this.#readHead()
    return true
  }

  #readHead(): void {
    const most = Math.min(PIECE_HEAD_BYTES + MAX_KEY_BYTES, this.#end - this.#position)
    const head = this.#scratch.read(this.#position, most)
    this.#blockBytes = head.readUInt32LE()
    const keyEnd = PIECE_HEAD_BYTES + head.readUInt16LE(4)
    this.#firstKey = Buffer.from(head.subarray(PIECE_HEAD_BYTES, keyEnd))
    this.#position += keyEnd
  }
}

/** Runs by the key that they are at, the newest first where it is the same: a binary heap. */
class RunQueue {
  readonly #heap: Run[]

  constructor(runs: readonly Run[]) {
    this.#heap = [...runs].sort(inOrder)
  }

  get first(): Run | undefined {
    return this.#heap[0]
  }

  /** Takes every run that is at this key behind it. */
  skip(key: Uint8Array): void {
    const skipped = Buffer.from(key)
    for (let run = this.first; run !== undefined && skipped.equals(run.key); run = this.first) {
      if (!run.next()) {
        const last = this.#heap.pop() as Run
        if (last === run) continue
        this.#heap[0] = last
      }
      this.#sink()
    }
  }

  /** Brings the first one to its place. */
  #sink(): void {
    const heap = this.#heap
    const run = heap[0] as Run
    let at = 0
    for (;;) {
      const [left, right] = [2 * at + 1, 2 * at + 2]
      if (left >= heap.length) break
      const lower = right < heap.length && inOrder(heap[right] as Run, heap[left] as Run) < 0 ? right : left
      if (inOrder(run, heap[lower] as Run) <= 0) break
      heap[at] = heap[lower] as Run
      at = lower
    }
    heap[at] = run
  }
}

const inOrder = (left: Run, right: Run): number => Buffer.compare(left.key, right.key) || right.age - left.age

const NO_BYTES = Buffer.alloc(0)

/** A file that nobody else sees: it has no name any more once it is open, so a process that is killed leaves nothing. */
class Scratch {
  length = 0
  #file: number | undefined

  append(bytes: Uint8Array): void {
    this.#attempt(() => writeFileSync(this.#open(), bytes))
    this.length += bytes.length
  }

  read(position: number, length: number): Buffer {
    const bytes = Buffer.allocUnsafe(length)
    this.#attempt(() => {
      for (let done = 0; done < length; ) {
        const read = readSync(this.#open(), bytes, done, length - done, position + done)
        if (read === 0) throw new Error(`the scratch file in ${tmpdir()} has become shorter`)
        done += read
      }
    })
    return bytes
  }

  close(): void {
    if (this.#file !== undefined) closeSync(this.#file)
    this.#file = undefined
  }

  #open(): number {
    if (this.#file !== undefined) return this.#file
    const name = join(tmpdir(), `holdfast-sort-${randomUUID()}`)
    this.#file = openSync(name, 'wx+', 0o600)
    rmSync(name)
    return this.#file
  }

  #attempt(step: () => void): void {
    try {
      step()
    } catch (error) {
      throw fileError(tmpdir(), error)
    }
  }
}
