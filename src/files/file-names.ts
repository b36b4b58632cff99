// What a checkpoint directory may hold, by file name; everything else in it is ignored.
//
// object    := [a-z0-9-] [a-z0-9.-]{0,127}
// lease     := ".lease-" token           token := at least ten digits, padded with zeros on the left, from 1
// temporary := ".tmp-" [0-9a-f]{32}
//
// (1) The three sets do not overlap: only leases and temporary files begin with a dot.
// (2) No name can leave the directory: no separator, no "..", no NUL, nothing that folds case.

import { randomBytes } from 'node:crypto'
import { assert } from '../base/assert.js'
import { invalidArgument } from '../base/options.js'

const OBJECT_NAME = /^[a-z0-9-][a-z0-9.-]{0,127}$/
const LEASE_NAME = /^\.lease-(\d{10,16})$/
const TEMPORARY_NAME = /^\.tmp-[0-9a-f]{32}$/
const TOKEN_DIGITS = 10

export function isObjectName(name: unknown): name is string {
  return typeof name === 'string' && OBJECT_NAME.test(name)
}

/** Rejects what is not an object name with `INVALID_ARGUMENT`. */
export function checkObjectName(name: unknown): void {
  if (isObjectName(name)) return
  const shown = typeof name === 'string' ? JSON.stringify(name.slice(0, 140)) : `a ${typeof name}`
  throw invalidArgument(
    'name',
    `must be 1 to 128 characters of a-z 0-9 . - and not begin with a dot; it is ${shown}`,
  )
}

export function leaseFileName(token: number): string {
  assert(Number.isSafeInteger(token) && token > 0, 'a lease token is a positive integer')
  return `.lease-${String(token).padStart(TOKEN_DIGITS, '0')}`
}

/** The token in the name of a lease file; `undefined` for every other name. */
export function leaseTokenOf(name: string): number | undefined {
  const digits = LEASE_NAME.exec(name)?.[1]
  if (digits === undefined) return undefined
  const token = Number(digits)
  return Number.isSafeInteger(token) && token > 0 && leaseFileName(token) === name ? token : undefined
}

/** Beginning of the names of one writer's temporary files: half of their random digits. */
export function newTemporaryPrefix(): string {
  return `.tmp-${randomBytes(8).toString('hex')}`
}

/** A name that no other writer has, in this process or elsewhere. */
export function newTemporaryName(prefix: string = newTemporaryPrefix()): string {
  return `${prefix}${randomBytes(8).toString('hex')}`
}

export function isTemporaryName(name: string): boolean {
  return TEMPORARY_NAME.test(name)
}
