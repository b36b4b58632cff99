// What lies in the files of the log before the tree (docs/format/lmdb-store.md).
//
//   file   := header (in 4,096 bytes) · group* · zeros, or what is left of an earlier use of the file
//   header := "holdflog" · version u32 · crc u32 · number u64 · firstSequence u64 · salt u32 · zero u32 · id (64 bytes)
//   group  := magic u32 · crc u32 · length u32 · flags u32 · sequence u64 · clockMs f64 · commits u64 · count u32 · zero u32 · entry*
//   entry  := keyLength u16 · flags u16 · valueLength u32 · [expiresAtMs f64] · key · value
//
// Numbers are little-endian; a group begins at a multiple of 8, and its length is that of its entries.
// (1) The CRC of a group covers everything of it from its length on, and begins with the salt of its file: what another use of the file has
//     left, and what a value holds that looks like a group, does not match.
// (2) Groups are in order: each has the next sequence number. The last one of a file that another one continues has no entries and
//     the flag ENDS; its number is that of the first group of the other file.
// (3) A group with the flag CLEARED removes all that was there before its entries are put.

import { StateError } from '../../base/errors.js'
import { crc32 } from '../../codec/checksum.js'
import { copyInto, type Entries } from '../../log/entries.js'
import { EntryCursor } from '../../log/entry-cursor.js'

/** How long a file of the log may be. */
export const MIN_LOG_FILE_BYTES: number = 64 * 1024
export const MAX_LOG_FILE_BYTES: number = 256 * 1024 * 1024
/** Where the first group of a file begins. */
export const FIRST_GROUP_AT = 4_096
export const GROUP_HEADER_BYTES = 48
const ENTRY_HEADER_BYTES = 8
const EXPIRY_BYTES = 8
const HEADER_BYTES = 104
const ID_BYTES = 64
const ALIGNMENT = 8
const VERSION = 1
const FILE_MAGIC = Buffer.from('holdflog', 'latin1')
const GROUP_MAGIC = 0x67_6c_66_68

const GroupFlag = { CLEARED: 1, ENDS: 2 } as const
const EntryFlag = { TOMBSTONE: 1, EXPIRES: 2 } as const
const KNOWN_GROUP_FLAGS = GroupFlag.CLEARED | GroupFlag.ENDS
const KNOWN_ENTRY_FLAGS = EntryFlag.TOMBSTONE | EntryFlag.EXPIRES

const AT = { version: 8, crc: 12, number: 16, firstSequence: 24, salt: 32, id: 40 } as const
const IN_GROUP = { crc: 4, length: 8, flags: 12, sequence: 16, clockMs: 24, commits: 32, count: 40 } as const

/** What a file of the log says of itself. */
export interface LogFileHeader {
  /** Of the log that it is a part of. */
  readonly id: string
  /** Counts the uses of the log's files; 0: not used yet. */
  readonly number: number
  /** Of its first group. */
  readonly firstSequence: number
  /** The CRC of its groups begins with it. */
  readonly salt: number
}

export function encodeLogHeader({ id, number, firstSequence, salt }: LogFileHeader): Buffer {
  const bytes = Buffer.alloc(FIRST_GROUP_AT)
  FILE_MAGIC.copy(bytes)
  bytes.writeUInt32LE(VERSION, AT.version)
  writeU64(bytes, number, AT.number)
  writeU64(bytes, firstSequence, AT.firstSequence)
  bytes.writeUInt32LE(salt, AT.salt)
  bytes.write(id, AT.id, ID_BYTES, 'latin1')
  bytes.writeUInt32LE(crc32(bytes.subarray(AT.number, HEADER_BYTES)), AT.crc)
  return bytes
}

/** Undefined where the bytes are no whole header; `INCOMPATIBLE` for one of another version. */
export function decodeLogHeader(bytes: Buffer, what: string): LogFileHeader | undefined {
  if (
    bytes.length < HEADER_BYTES ||
    bytes.compare(FILE_MAGIC, 0, FILE_MAGIC.length, 0, FILE_MAGIC.length) !== 0
  )
    return undefined
  const version = bytes.readUInt32LE(AT.version)
  if (version !== VERSION) {
    throw new StateError('INCOMPATIBLE', {
      what,
      found: `version ${version}`,
      supported: `version ${VERSION}`,
    })
  }
  if (crc32(bytes.subarray(AT.number, HEADER_BYTES)) !== bytes.readUInt32LE(AT.crc)) return undefined
  return {
    id: bytes.toString('latin1', AT.id, AT.id + ID_BYTES).replace(/\0+$/, ''),
    number: readU64(bytes, AT.number),
    firstSequence: readU64(bytes, AT.firstSequence),
    salt: bytes.readUInt32LE(AT.salt),
  }
}

/** Some entries of one log of the write buffer. */
export interface GroupPart {
  readonly entries: Entries
  readonly addresses: Uint32Array
}

export interface GroupContent {
  /** Everything that was there before is gone. */
  readonly cleared: boolean
  /** The engine's time. */
  readonly clockMs: number
  /** Commits that the tree holds for certain: what came before them is not in the group. */
  readonly commits: number
  /** Oldest first: of a key that is in several, the last one counts. */
  readonly parts: readonly GroupPart[]
}

/** Bytes that a group of these entries takes in its file. */
export function groupBytes(parts: readonly GroupPart[]): number {
  let bytes = GROUP_HEADER_BYTES
  for (const { entries, addresses } of parts) {
    for (const address of addresses) {
      bytes += ENTRY_HEADER_BYTES + entries.keyLength(address)
      if (entries.isTombstone(address)) continue
      bytes += entries.valueLength(address)
      if (entries.expiresAtMs(address) !== Infinity) bytes += EXPIRY_BYTES
    }
  }
  return aligned(bytes)
}

/** `group` is as long as {@link groupBytes} says. The CRC is that of the file: {@link sealGroup} sets it. */
export function encodeGroup(group: Buffer, sequence: number, content: GroupContent): void {
  let at = GROUP_HEADER_BYTES
  let count = 0
  for (const { entries, addresses } of content.parts) {
    const entry = new EntryCursor(entries)
    count += addresses.length
    for (const address of addresses) {
      entry.goTo(address)
      const expires = !entry.tombstone && entry.expiresAtMs !== Infinity
      const valueLength = entry.tombstone ? 0 : entry.valueLength
      group.writeUInt16LE(entry.keyLength, at)
      group.writeUInt16LE(entry.tombstone ? EntryFlag.TOMBSTONE : expires ? EntryFlag.EXPIRES : 0, at + 2)
      group.writeUInt32LE(valueLength, at + 4)
      at += ENTRY_HEADER_BYTES
      if (expires) {
        group.writeDoubleLE(entry.expiresAtMs, at)
        at += EXPIRY_BYTES
      }
      copyInto(group, at, entry.bytes, entry.keyStart, entry.keyLength)
      at += entry.keyLength
      copyInto(group, at, entry.bytes, entry.valueStart, valueLength)
      at += valueLength
    }
  }
  group.fill(0, at)
  const flags = content.cleared ? GroupFlag.CLEARED : 0
  const { clockMs, commits } = content
  writeGroupHeader(group, { sequence, flags, clockMs, commits, count, length: at - GROUP_HEADER_BYTES })
}

/** The last group of a file that another one continues. */
export function encodeEnd(sequence: number): Buffer {
  const group = Buffer.alloc(GROUP_HEADER_BYTES)
  writeGroupHeader(group, { sequence, flags: GroupFlag.ENDS, clockMs: 0, commits: 0, count: 0, length: 0 })
  return group
}

/** Sets the checksum of a group that is to be written to the file with this salt. */
export function sealGroup(group: Buffer, salt: number): void {
  const end = GROUP_HEADER_BYTES + group.readUInt32LE(IN_GROUP.length)
  group.writeUInt32LE(crc32(group.subarray(IN_GROUP.length, end), salt), IN_GROUP.crc)
}

interface GroupFacts {
  readonly sequence: number
  readonly flags: number
  readonly clockMs: number
  readonly commits: number
  readonly count: number
  readonly length: number
}

function writeGroupHeader(
  group: Buffer,
  { sequence, flags, clockMs, commits, count, length }: GroupFacts,
): void {
  group.writeUInt32LE(GROUP_MAGIC, 0)
  group.writeUInt32LE(length, IN_GROUP.length)
  group.writeUInt32LE(flags, IN_GROUP.flags)
  writeU64(group, sequence, IN_GROUP.sequence)
  group.writeDoubleLE(clockMs, IN_GROUP.clockMs)
  writeU64(group, commits, IN_GROUP.commits)
  group.writeUInt32LE(count, IN_GROUP.count)
  group.writeUInt32LE(0, IN_GROUP.count + 4)
}

/** The place behind a group that begins at `at`, by its length. */
function endOf(at: number, length: number): number {
  return at + aligned(GROUP_HEADER_BYTES + length)
}

/** Bytes of the group whose header is this, by its length; undefined where it is no header of a group with this number. */
export function claimedBytes(header: Buffer, sequence: number): number | undefined {
  if (header.readUInt32LE(0) !== GROUP_MAGIC || readU64(header, IN_GROUP.sequence) !== sequence)
    return undefined
  return endOf(0, header.readUInt32LE(IN_GROUP.length))
}

/** A group that was read, and its entries: one at a time, without an object for each. */
export class LogGroup {
  readonly sequence: number
  readonly clockMs: number
  /** Commits that the tree must hold below it. */
  readonly commits: number
  readonly cleared: boolean
  /** Another file goes on from here. */
  readonly ends: boolean
  readonly count: number
  readonly bytes: Buffer
  keyStart = 0
  keyLength = 0
  valueStart = 0
  valueLength = 0
  expiresAtMs: number = Infinity
  tombstone = false
  #left: number
  #at = GROUP_HEADER_BYTES
  readonly #end: number

  private constructor(bytes: Buffer) {
    this.bytes = bytes
    const flags = bytes.readUInt32LE(IN_GROUP.flags)
    this.sequence = readU64(bytes, IN_GROUP.sequence)
    this.clockMs = bytes.readDoubleLE(IN_GROUP.clockMs)
    this.commits = readU64(bytes, IN_GROUP.commits)
    this.cleared = (flags & GroupFlag.CLEARED) !== 0
    this.ends = (flags & GroupFlag.ENDS) !== 0
    this.count = bytes.readUInt32LE(IN_GROUP.count)
    this.#left = this.count
    this.#end = GROUP_HEADER_BYTES + bytes.readUInt32LE(IN_GROUP.length)
  }

  /** Undefined where the bytes are no whole group of a file with this salt. They must stay as they are while it is read. */
  static in(bytes: Buffer, salt: number): LogGroup | undefined {
    if (bytes.length < GROUP_HEADER_BYTES || bytes.readUInt32LE(0) !== GROUP_MAGIC) return undefined
    const end = GROUP_HEADER_BYTES + bytes.readUInt32LE(IN_GROUP.length)
    if (end > bytes.length) return undefined
    if (crc32(bytes.subarray(IN_GROUP.length, end), salt) !== bytes.readUInt32LE(IN_GROUP.crc))
      return undefined
    return new LogGroup(bytes)
  }

  /** Goes to the next entry; false at the end. `CORRUPTION` where what was checked makes no sense all the same. */
  next(what: string): boolean {
    const { bytes } = this
    if (this.#left === 0) {
      if (this.#at !== this.#end) throw senseless(what, this.sequence)
      return false
    }
    this.#left--
    if (this.#at + ENTRY_HEADER_BYTES > this.#end) throw senseless(what, this.sequence)
    const flags = bytes.readUInt16LE(this.#at + 2)
    this.keyLength = bytes.readUInt16LE(this.#at)
    this.valueLength = bytes.readUInt32LE(this.#at + 4)
    this.tombstone = (flags & EntryFlag.TOMBSTONE) !== 0
    this.keyStart = this.#at + ENTRY_HEADER_BYTES
    this.expiresAtMs = Infinity
    if ((flags & EntryFlag.EXPIRES) !== 0) {
      if (this.keyStart + EXPIRY_BYTES > this.#end) throw senseless(what, this.sequence)
      this.expiresAtMs = bytes.readDoubleLE(this.keyStart)
      this.keyStart += EXPIRY_BYTES
    }
    this.valueStart = this.keyStart + this.keyLength
    this.#at = this.valueStart + this.valueLength
    if ((flags & ~KNOWN_ENTRY_FLAGS) !== 0 || this.#at > this.#end) throw senseless(what, this.sequence)
    return true
  }

  /** Whether its flags are all known. */
  get isKnown(): boolean {
    return (this.bytes.readUInt32LE(IN_GROUP.flags) & ~KNOWN_GROUP_FLAGS) === 0
  }
}

/** Whether a whole group, with a number from `sequence` on, begins anywhere in the bytes: `at` is where they begin in their file. */
export function holdsLaterGroup(bytes: Buffer, sequence: number, salt: number): boolean {
  const magic = Buffer.alloc(4)
  magic.writeUInt32LE(GROUP_MAGIC)
  // No more groups fit there. What is none by its number is not summed: a value may look like a great many groups, each as long as the file.
  const last = sequence + Math.ceil(bytes.length / GROUP_HEADER_BYTES)
  for (let at = bytes.indexOf(magic); at >= 0; at = bytes.indexOf(magic, at + 1)) {
    if (at % ALIGNMENT !== 0 || at + GROUP_HEADER_BYTES > bytes.length) continue
    const claimed = readU64(bytes, at + IN_GROUP.sequence)
    if (claimed < sequence || claimed > last) continue
    if (LogGroup.in(bytes.subarray(at), salt) !== undefined) return true
  }
  return false
}

function senseless(what: string, sequence: number): StateError<'CORRUPTION'> {
  return new StateError('CORRUPTION', { what, reason: `its group ${sequence} makes no sense` })
}

function aligned(bytes: number): number {
  return Math.ceil(bytes / ALIGNMENT) * ALIGNMENT
}

function writeU64(bytes: Buffer, value: number, at: number): void {
  bytes.writeUInt32LE(value % 2 ** 32, at)
  bytes.writeUInt32LE(Math.floor(value / 2 ** 32), at + 4)
}

function readU64(bytes: Buffer, at: number): number {
  return bytes.readUInt32LE(at) + bytes.readUInt32LE(at + 4) * 2 ** 32
}
