// Reads the log before the tree, from its files: by whoever opens a store for writing after a crash, and by those that read beside a
// process that writes.
//
// (1) The groups above a sequence number, which the tree holds, follow one another without a gap: through the older file, and from its end
//     on in the newer one.
// (2) The writer uses a file again when the tree holds all that was in it. A reader that stands there finds a gap, or a group with no
//     successor where there is a newer file: it asks the tree again, which has come further, and begins anew.
// (3) A commit that begins while a group is being written holds what is in it, and may be durable before it. So the log may end one group
//     before the one up to which the tree holds it.
// (4) Both files had their length before the identity named them, and keep it. So a file of another length was cut off, though what is left of
//     it looks like a log that a crash has ended: acknowledged groups would be gone quietly.

import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs'
import { basename } from 'node:path'
import { StateError } from '../../base/errors.js'
import { errnoOf, storageError } from '../../files/file-failure.js'
import {
  claimedBytes,
  decodeLogHeader,
  FIRST_GROUP_AT,
  GROUP_HEADER_BYTES,
  holdsLaterGroup,
  type LogFileHeader,
  LogGroup,
  MAX_LOG_FILE_BYTES,
  MIN_LOG_FILE_BYTES,
} from './log-format.js'
import { LOG_FILES, type LogIdentity, logFileName } from './log-identity.js'

const READ_FLAGS = constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0)
const CHUNK_BYTES = 64 * 1024
/** Groups between two whose places are kept. */
const GROUPS_PER_MARK = 64

/** A file of the log that is open, as it is used now. */
interface UsedFile {
  readonly path: string
  readonly descriptor: number
  readonly header: LogFileHeader
}

/** Where a group begins. */
interface Mark {
  readonly number: number
  readonly sequence: number
  readonly position: number
}

interface Chunk {
  readonly descriptor: number
  readonly position: number
  readonly bytes: Buffer
}

const NOTHING_READ: Chunk = { descriptor: -1, position: 0, bytes: Buffer.alloc(0) }

/** Returns whether more is to be read. */
type OnGroup = (group: LogGroup, path: string) => boolean

/** What was read. */
export interface LogEnd {
  /** Of the last group. */
  readonly sequence: number
  /** Why the log cannot be whole; undefined: it may be. The writer may have gone on meanwhile. */
  readonly gap: string | undefined
}

export class LogReader {
  readonly #directory: string
  readonly #log: LogIdentity
  /** By the place in the name. */
  readonly #descriptors: (number | undefined)[] = []
  /** Both files have the length that they were made with. */
  #isMeasured = false
  /** Of every so many groups, ascending, … */
  #marks: Mark[] = []
  /** … and where the next one is to come. */
  #end: Mark | undefined
  /** What was read last, and from where. */
  #chunk: Chunk = NOTHING_READ

  constructor(directory: string, log: LogIdentity) {
    this.#directory = directory
    this.#log = log
  }

  get id(): string {
    return this.#log.id
  }

  /**
   * Calls `onGroup` with each group above `after`, in order, until it returns false; the group's bytes stay as they are. `strictly`: nobody
   * writes, so damage is told from a write that a crash has cut off. `after` undefined: whatever is there.
   */
  read(above: number | undefined, strictly: boolean, onGroup: OnGroup): LogEnd {
    const files = this.#usedFiles()
    const after = above ?? (files[0]?.header.firstSequence ?? 1) - 1
    const misfit = this.#misfit()
    if (misfit !== undefined) return { sequence: after, gap: misfit }
    const first = files.findLast(({ header }) => header.firstSequence <= after + 1) ?? files[0]
    if (first === undefined) return { sequence: after, gap: 'no file of it is whole' }
    let place = files.indexOf(first)
    if (first.header.firstSequence > after + 1) {
      return { sequence: after, gap: `it begins with group ${first.header.firstSequence}, not ${after + 1}` }
    }
    let expected = first.header.firstSequence
    for (;;) {
      const file = files[place] as UsedFile
      const { sequence, end, position } = this.#readFile(file, expected, after, onGroup)
      if (end === 'stopped') return { sequence, gap: undefined }
      expected = sequence + 1
      const next = files[place + 1]
      if (end === 'nothing') {
        const gap = this.#judgeEnd(file, next, expected, position, strictly)
        return {
          sequence: Math.max(sequence, after),
          gap: gap ?? (sequence < after - 1 ? `it ends with group ${sequence}, before ${after}` : undefined),
        }
      }
      if (next?.header.number !== file.header.number + 1 || next.header.firstSequence !== expected) {
        return { sequence, gap: `the file that goes on from group ${sequence} is missing` }
      }
      place++
    }
  }

  close(): void {
    for (const descriptor of this.#descriptors.splice(0)) if (descriptor !== undefined) closeSync(descriptor)
    this.#isMeasured = false
  }

  /** Why the files cannot be as they were made. */
  #misfit(): string | undefined {
    if (this.#isMeasured) return undefined
    const lengths: number[] = []
    for (let place = 0; place < LOG_FILES; place++) {
      const path = logFileName(this.#directory, this.#log, place)
      const descriptor = this.#open(path, place)
      if (descriptor === undefined) return `${basename(path)} is missing`
      lengths.push(lengthOf(descriptor, path))
    }
    const shortest = Math.min(...lengths)
    const longest = Math.max(...lengths)
    const isCut = shortest !== longest || shortest < MIN_LOG_FILE_BYTES || longest > MAX_LOG_FILE_BYTES
    if (isCut) return `its files have ${lengths.join(' and ')} bytes, which is not how they were made`
    this.#isMeasured = true
    return undefined
  }

  /** Why the log cannot end where no group is found any more. */
  #judgeEnd(
    file: UsedFile,
    next: UsedFile | undefined,
    expected: number,
    position: number,
    strictly: boolean,
  ): string | undefined {
    // The next file is begun before this one says so: then nothing is in it.
    if (next !== undefined && next.header.firstSequence !== expected) return `group ${expected} is missing`
    if (next !== undefined && this.#groupAt(next, FIRST_GROUP_AT, expected) !== undefined) {
      return `group ${expected} is missing or damaged`
    }
    if (!strictly) return undefined
    const rest = readAll(file.descriptor, file.path, position)
    if (!holdsLaterGroup(rest, expected + 1, file.header.salt)) return undefined
    // Beside a process that writes, it may have come meanwhile.
    this.#chunk = NOTHING_READ
    return this.#groupAt(file, position, expected) === undefined ? `group ${expected} is damaged` : undefined
  }

  #readFile(
    file: UsedFile,
    first: number,
    after: number,
    onGroup: OnGroup,
  ): {
    readonly sequence: number
    readonly end: 'nothing' | 'continued' | 'stopped'
    readonly position: number
  } {
    const { number } = file.header
    // What was read before may have been written over.
    this.#chunk = NOTHING_READ
    this.#marks = this.#marks.filter((each) => each.number === number || each.number === number - 1)
    const isUsable = (each: Mark) => each.number === number && each.sequence <= after + 1
    const mark = this.#end !== undefined && isUsable(this.#end) ? this.#end : this.#marks.findLast(isUsable)
    let expected = mark?.sequence ?? first
    let position = mark?.position ?? FIRST_GROUP_AT
    for (;;) {
      const group = this.#groupAt(file, position, expected)
      const here = { number, sequence: expected, position }
      this.#end = here
      if (group === undefined) return { sequence: expected - 1, end: 'nothing', position }
      if (expected % GROUPS_PER_MARK === 0 && !this.#marks.some(({ sequence }) => sequence === expected)) {
        this.#marks.push(here)
      }
      if (group.ends) return { sequence: expected - 1, end: 'continued', position }
      if (expected > after && !onGroup(group, file.path)) {
        return { sequence: expected - 1, end: 'stopped', position }
      }
      expected++
      position += group.bytes.length
    }
  }

  /** The group with this number, if it is whole; its bytes are its own. */
  #groupAt(file: UsedFile, position: number, sequence: number): LogGroup | undefined {
    const header = this.#bytesAt(file, position, GROUP_HEADER_BYTES)
    if (header === undefined) return undefined
    const claimed = claimedBytes(header, sequence)
    if (claimed === undefined) return undefined
    const bytes = this.#bytesAt(file, position, claimed)
    const group = bytes === undefined ? undefined : LogGroup.in(bytes, file.header.salt)
    return group?.sequence === sequence && group.isKnown ? group : undefined
  }

  /** Undefined where the file ends before. */
  #bytesAt({ descriptor, path }: UsedFile, position: number, length: number): Buffer | undefined {
    const read = this.#chunk
    const offset = position - read.position
    if (read.descriptor === descriptor && offset >= 0 && offset + length <= read.bytes.length) {
      return read.bytes.subarray(offset, offset + length)
    }
    const bytes = readUpTo(descriptor, path, position, Math.max(length, CHUNK_BYTES), length)
    this.#chunk = { descriptor, position, bytes }
    return bytes.length < length ? undefined : bytes.subarray(0, length)
  }

  /** The files that hold something of this log, oldest first. */
  #usedFiles(): UsedFile[] {
    const files: UsedFile[] = []
    for (let place = 0; place < LOG_FILES; place++) {
      const path = logFileName(this.#directory, this.#log, place)
      const descriptor = this.#open(path, place)
      if (descriptor === undefined) continue
      const header = decodeLogHeader(readUpTo(descriptor, path, 0, FIRST_GROUP_AT, FIRST_GROUP_AT), path)
      if (header !== undefined && header.id === this.#log.id && header.number > 0) {
        files.push({ path, descriptor, header })
      }
    }
    return files.sort((a, b) => a.header.number - b.header.number)
  }

  #open(path: string, place: number): number | undefined {
    try {
      this.#descriptors[place] ??= openSync(path, READ_FLAGS)
      return this.#descriptors[place]
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return undefined
      throw storageError('lmdb', 'read the log', path, error)
    }
  }
}

/** The log is damaged. */
export function damagedLog(directory: string, gap: string): StateError<'CORRUPTION'> {
  return new StateError('CORRUPTION', { what: `log of ${directory}`, reason: gap })
}

/** The tree is of an earlier time than the log. */
export function missingCommit(needed: number, commits: number): string {
  return `the store ends with commit ${commits}, and the log needs ${needed}`
}

function lengthOf(descriptor: number, path: string): number {
  try {
    return fstatSync(descriptor).size
  } catch (error) {
    throw storageError('lmdb', 'read the log', path, error)
  }
}

function readAll(descriptor: number, path: string, position: number): Buffer {
  const parts: Buffer[] = []
  for (let at = position; ; ) {
    const part = readUpTo(descriptor, path, at, 1 << 20, 1 << 20)
    if (part.length === 0) return Buffer.concat(parts)
    parts.push(part)
    at += part.length
  }
}

/** At most so many bytes, and at least `needed` where the file has them. */
function readUpTo(
  descriptor: number,
  path: string,
  position: number,
  length: number,
  needed: number,
): Buffer {
  const bytes = Buffer.allocUnsafeSlow(length)
  let filled = 0
  try {
    while (filled < needed) {
      const read = readSync(descriptor, bytes, filled, length - filled, position + filled)
      if (read === 0) break
      filled += read
    }
  } catch (error) {
    throw storageError('lmdb', 'read the log', path, error)
  }
  return bytes.subarray(0, filled)
}
