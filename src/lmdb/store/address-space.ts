// Whether the system will map a file, and open the files that a store needs, found out before LMDB's package is asked: it
// ends the process with a signal where it is refused.

import { closeSync, openSync, readFileSync } from 'node:fs'
import { devNull } from 'node:os'
import { reasonOf, StateError } from '../../base/errors.js'
import { errnoOf } from '../../files/file-failure.js'

/** What a process can address at most on the 64-bit systems that Node.js runs on: 47 bits. */
const ADDRESSABLE_BYTES = 2 ** 47
/** Left to everything else: threads, memory of the JavaScript engine. */
const SPARE_BYTES = 1024 * 1024 * 1024
/** Descriptors that LMDB opens for one data file, and those of a writer thread while it starts. */
const DESCRIPTORS_PER_STORE = 16
const KIBIBYTE = 1024

/** `STORAGE_ERROR` unless so many bytes of a file can be mapped in this process beside what is. `path` is for the message. */
export function assertAddressSpace(path: string, bytes: number): void {
  const limitBytes = addressLimitBytes()
  const usedBytes = limitBytes === undefined ? undefined : addressesInUse()
  if (limitBytes === undefined || usedBytes === undefined) return
  if (usedBytes + bytes + SPARE_BYTES <= limitBytes) return
  const gibibytes = (value: number) => `${(value / 2 ** 30).toFixed(1)} GiB`
  const reason =
    `${path}: this process has not enough address space to map it: it takes ${gibibytes(bytes)}, and ` +
    `${gibibytes(usedBytes)} of ${gibibytes(limitBytes)} are in use; keep fewer stores open in one process, or raise the limit (ulimit -v)`
  throw new StateError('STORAGE_ERROR', { storage: 'lmdb', operation: 'map the store', reason })
}

/** `STORAGE_ERROR` unless this process may open the files of one more store. */
export function assertDescriptors(path: string): void {
  const opened: number[] = []
  try {
    for (let i = 0; i < DESCRIPTORS_PER_STORE; i++) opened.push(openReadable(path))
  } catch (cause) {
    const reason = `${path}: ${reasonOf(cause)}; keep fewer stores open in one process, or raise the limit (ulimit -n)`
    throw new StateError('STORAGE_ERROR', { storage: 'lmdb', operation: 'open', reason }, { cause })
  } finally {
    for (const descriptor of opened) closeSync(descriptor)
  }
}

/** Node.js may have been told to let nothing be read but the package and the store. */
function openReadable(path: string): number {
  try {
    return openSync(devNull, 'r')
  } catch (error) {
    if (errnoOf(error) !== 'ERR_ACCESS_DENIED') throw error
    return openSync(path, 'r')
  }
}

let limit: number | undefined

/** Bytes of addresses that this process may use; undefined where the system does not tell (other than Linux). */
function addressLimitBytes(): number | undefined {
  if (limit !== undefined) return limit
  const text = readSystemFile('/proc/self/limits')
  if (text === undefined) return undefined
  const soft = /^Max address space\s+(\S+)/m.exec(text)?.[1]
  const bytes = soft === undefined || soft === 'unlimited' ? ADDRESSABLE_BYTES : Number(soft)
  limit = Number.isFinite(bytes) ? Math.min(bytes, ADDRESSABLE_BYTES) : ADDRESSABLE_BYTES
  return limit
}

/** See proc(5), `/proc/pid/status`. */
function addressesInUse(): number | undefined {
  const kibibytes = /^VmSize:\s+(\d+) kB/m.exec(readSystemFile('/proc/self/status') ?? '')?.[1]
  return kibibytes === undefined ? undefined : Number(kibibytes) * KIBIBYTE
}

function readSystemFile(path: string): string | undefined {
  try {
    return readFileSync(path, 'latin1')
  } catch {
    return undefined
  }
}
