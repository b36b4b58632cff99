import { join } from 'node:path'

/** How many files a log has: they are used in turn. */
export const LOG_FILES = 2
const LOG_FILE_PATTERN = /^log-(\d+)-[01]$/

/** A log that a store has, as its identity names it. */
export interface LogIdentity {
  /** Tells it from every other log of the store. */
  readonly id: string
  /** Of the lease under which it is written: its files are named by it. */
  readonly token: number
}

/** Up to where the tree holds a log. Structured clone carries it. */
export interface LogMark {
  readonly id: string
  /** Of the last group that the tree holds. */
  readonly sequence: number
}

/** Of a log that the tree holds as far as it ever will be. */
export const EVERYTHING: number = Number.MAX_SAFE_INTEGER

/** Up to which group the tree holds a log, by the mark in its state. */
export function heldOf(id: string, mark: LogMark | undefined): number {
  return mark?.id === id ? mark.sequence : 0
}

export function logFileName(directory: string, { token }: LogIdentity, place: number): string {
  return join(directory, `log-${token}-${place}`)
}

/** The token in the name of a file of a log; undefined for every other name. */
export function logTokenOf(name: string): number | undefined {
  const token = LOG_FILE_PATTERN.exec(name)?.[1]
  return token === undefined ? undefined : Number(token)
}

export function isLogIdentity(value: unknown): value is LogIdentity {
  const { id, token } = (value ?? {}) as Partial<LogIdentity>
  return (
    typeof id === 'string' &&
    id !== '' &&
    id.length <= 64 &&
    Number.isSafeInteger(token) &&
    (token as number) > 0
  )
}
