// The root object says which objects there are, and who may write. It is JSON, a line feed, and the SHA-256 of that JSON:
//
//   root   := json '\n' sha256 '\n'
//   json   := { "format": "holdfast-bucket", "version": 1, "revision": R, "token": T, "nonce": N, "leaseMs": L,
//               "released": B, "owner": { … }, "objects": { name: object, … } }
//   object := { "key": K, "sizeBytes": S } | { "inline": base64 }
//
// (1) It is replaced only on the condition that it is as it was read. So every change of a name carries the token in the same
//     step that makes it, and whoever was overtaken changes nothing.
// (2) The nonce is new with every lease, the revision with every attempt to write. So no two attempts write the same bytes, and
//     who reads it back can tell its own success from somebody else's.
// (3) A key has the token of its writer and random digits: it is never used again. Bytes under a key never change.
// (4) What is in no root is in no checkpoint, whenever it was written.

import { createHash, randomBytes } from 'node:crypto'
import { StateError } from '../base/errors.js'
import { isObjectName } from '../files/file-names.js'
import type { ProcessIdentity } from '../files/process-identity.js'

const FORMAT = 'holdfast-bucket'
const VERSION = 1

/** Key of the root object, behind the prefix. */
export const ROOT_KEY = 'root'
/** What the keys of all other objects begin with, behind the prefix. */
export const DATA_PREFIX = 'data/'
/** No root is larger: that is room for some hundred thousand objects. */
export const MAX_ROOT_BYTES: number = 32 * 1024 * 1024

/** Where the bytes of an object are: under a key, or, of a small one that is replaced again and again, here. */
export type RootEntry = { readonly key: string; readonly sizeBytes: number } | { readonly inline: Uint8Array }

export interface Root {
  readonly revision: number
  readonly token: number
  readonly nonce: string
  /** The owner is silent, and may have died, where the revision has not changed for so long. */
  readonly leaseMs: number
  readonly released: boolean
  readonly owner: ProcessIdentity
  readonly objects: ReadonlyMap<string, RootEntry>
}

export function sizeOf(entry: RootEntry): number {
  return 'inline' in entry ? entry.inline.length : entry.sizeBytes
}

/** A key that nobody has used or will use. */
export function newDataKey(name: string, token: number): string {
  return `${DATA_PREFIX}${name}~${token}-${randomBytes(8).toString('hex')}`
}

/** The token of the writer of that key; `undefined` where it is none of ours. */
export function tokenOfDataKey(key: string): number | undefined {
  const match = /^data\/([a-z0-9.-]+)~(\d{1,16})-[0-9a-f]{16}$/.exec(key)
  if (match === null || !isObjectName(match[1])) return undefined
  return Number(match[2])
}

export function encodeRoot({ objects, ...root }: Root): Uint8Array {
  const entries = Array.from(objects, ([name, entry]) => [
    name,
    'inline' in entry ? { inline: Buffer.from(entry.inline).toString('base64') } : entry,
  ])
  const json = JSON.stringify({
    format: FORMAT,
    version: VERSION,
    ...root,
    objects: Object.fromEntries(entries) as object,
  })
  return new TextEncoder().encode(`${json}\n${sha256(json)}\n`)
}

/** `CORRUPTION`, or `INCOMPATIBLE` for a root of a newer version. `what` is for messages. */
export function decodeRoot(bytes: Uint8Array, what: string): Root {
  const [json, digest, ...rest] = new TextDecoder().decode(bytes).split('\n')
  if (json === undefined || digest === undefined || rest.length !== 1 || rest[0] !== '')
    throw damaged(what, 'it is not two lines')
  if (sha256(json) !== digest) throw damaged(what, 'its SHA-256 does not match')
  const fields = record(parsed(json, what), 'it', what)
  if (fields['format'] !== FORMAT) throw damaged(what, `it is not ${FORMAT}`)
  if (fields['version'] !== VERSION) {
    const found = `version ${String(fields['version'])}`
    throw new StateError('INCOMPATIBLE', { what, found, supported: `version ${VERSION}` })
  }
  return {
    revision: wholeNumber(fields, 'revision', what),
    token: wholeNumber(fields, 'token', what),
    leaseMs: wholeNumber(fields, 'leaseMs', what),
    nonce: text(fields, 'nonce', what),
    released: fields['released'] === true,
    owner: ownerIn(fields['owner'], what),
    objects: objectsIn(fields['objects'], what),
  }
}

function parsed(json: string, what: string): unknown {
  try {
    return JSON.parse(json)
  } catch {
    throw damaged(what, 'it is not JSON')
  }
}

function ownerIn(value: unknown, what: string): ProcessIdentity {
  const fields = record(value, 'owner', what)
  return {
    pid: wholeNumber(fields, 'pid', what),
    hostname: text(fields, 'hostname', what),
    bootId: textOrNull(fields['bootId']),
    pidNamespace: textOrNull(fields['pidNamespace']),
    processStartedAt: numberOrNull(fields['processStartedAt']),
    threadId: numberOrNull(fields['threadId']),
    threadStartedAt: numberOrNull(fields['threadStartedAt']),
  }
}

function objectsIn(value: unknown, what: string): Map<string, RootEntry> {
  const objects = new Map<string, RootEntry>()
  for (const [name, entry] of Object.entries(record(value, 'objects', what))) {
    if (!isObjectName(name)) throw damaged(what, 'it names what is no object')
    objects.set(name, entryIn(record(entry, name, what), what))
  }
  return objects
}

function entryIn(fields: { readonly [name: string]: unknown }, what: string): RootEntry {
  if (typeof fields['inline'] === 'string') {
    return { inline: new Uint8Array(Buffer.from(fields['inline'], 'base64')) }
  }
  const key = text(fields, 'key', what)
  if (tokenOfDataKey(key) === undefined) throw damaged(what, 'it names a key that is none of ours')
  return { key, sizeBytes: wholeNumber(fields, 'sizeBytes', what) }
}

type Fields = { readonly [name: string]: unknown }

function record(value: unknown, name: string, what: string): Fields {
  if (typeof value !== 'object' || value === null) throw damaged(what, `${name} is not an object`)
  return value as Fields
}

function wholeNumber(fields: Fields, name: string, what: string): number {
  const value = fields[name]
  if (!Number.isSafeInteger(value) || (value as number) < 0) throw damaged(what, `${name} is no whole number`)
  return value as number
}

function text(fields: Fields, name: string, what: string): string {
  const value = fields[name]
  if (typeof value !== 'string') throw damaged(what, `${name} is no text`)
  return value
}

const textOrNull = (value: unknown): string | null => (typeof value === 'string' ? value : null)
const numberOrNull = (value: unknown): number | null => (typeof value === 'number' ? value : null)

function damaged(what: string, reason: string): StateError<'CORRUPTION'> {
  return new StateError('CORRUPTION', { what, reason })
}

function sha256(json: string): string {
  return createHash('sha256').update(json).digest('hex')
}
