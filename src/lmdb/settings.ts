import { systemClock } from '../base/clock.js'
import {
  areValid,
  hasMethods,
  oneOf,
  type Rule,
  rejectViolations,
  rules,
  violationsOf,
} from '../base/options.js'
import { loadLz4 } from '../codec/block-codec.js'
import { MAX_LOG_FILE_BYTES, MIN_LOG_FILE_BYTES } from './log/log-format.js'
import type { LmdbStateBackendOptions, LmdbWriteOptions } from './types.js'

const MEBIBYTE = 1024 * 1024
/** A file of twice this can still be mapped, and once more while it grows, within the addresses of a process. */
const MAX_STORE_BYTES = 2 ** 43

const atLeast =
  (bytes: number): Rule =>
  (value) =>
    Number.isSafeInteger(value) && (value as number) >= bytes ? undefined : `must be at least ${bytes} bytes`

const between =
  (least: number, most: number): Rule =>
  (value) =>
    atLeast(least)(value) ?? ((value as number) <= most ? undefined : `must be at most ${most} bytes`)

const storeRules = {
  readOnly: rules.boolean,
  waitForOwnerMs: rules.nonNegativeMs,
  takeOver: rules.boolean,
  ttlMs: rules.positiveMs,
  clock: hasMethods('now', 'setTimer'),
  sweepIntervalMs: rules.positiveMs,
  flushEvery: rules.positiveInteger,
  flushIntervalMs: rules.positiveMs,
  cacheBytes: atLeast(MEBIBYTE),
  compression: oneOf('none', 'lz4'),
  maxBytes: between(MEBIBYTE, MAX_STORE_BYTES),
  commitTimeoutMs: rules.positiveMs,
  log: rules.boolean,
  logFileBytes: between(MIN_LOG_FILE_BYTES, MAX_LOG_FILE_BYTES),
  maxSnapshotAgeMs: rules.positiveMs,
}

const path: Rule = (value) =>
  typeof value === 'string' && value !== '' && !value.includes('\0')
    ? undefined
    : 'must be a directory: a non-empty string without NUL'

export type LmdbSettings = Required<Omit<LmdbStateBackendOptions, 'flushEvery'>> & {
  /** Undefined: as many as the pages that a commit may touch allow. */
  readonly flushEvery: number | undefined
}

/** Options with their defaults; `INVALID_ARGUMENT` with every violation, `INCOMPATIBLE` for a compression that is not there. */
export function settingsFrom(options: LmdbStateBackendOptions): LmdbSettings {
  const missing = (options as LmdbStateBackendOptions | undefined)?.path === undefined
  rejectViolations([
    ...violationsOf(options ?? {}, { path, ...storeRules }),
    ...(missing ? [{ argument: 'options.path', reason: 'must be a directory' }] : []),
  ])
  // What it lacks is told now, not by the first commit.
  if (options.compression === 'lz4') loadLz4()
  return {
    path: options.path,
    readOnly: options.readOnly ?? false,
    waitForOwnerMs: options.waitForOwnerMs ?? 0,
    takeOver: options.takeOver ?? false,
    ttlMs: options.ttlMs ?? Infinity,
    clock: options.clock ?? systemClock,
    sweepIntervalMs: options.sweepIntervalMs ?? 1_000,
    flushEvery: options.flushEvery,
    flushIntervalMs: options.flushIntervalMs ?? 1_000,
    cacheBytes: options.cacheBytes ?? 256 * MEBIBYTE,
    compression: options.compression ?? 'none',
    maxBytes: options.maxBytes ?? 64 * 1024 * MEBIBYTE,
    commitTimeoutMs: options.commitTimeoutMs ?? 30_000,
    log: options.log ?? false,
    logFileBytes: options.logFileBytes ?? 16 * MEBIBYTE,
    maxSnapshotAgeMs: options.maxSnapshotAgeMs ?? Infinity,
  }
}

const writeRules = { durable: rules.boolean }

/** What a put takes beside what it takes of every engine. */
export const putRules: { readonly durable: Rule } = writeRules

export function validateLmdbWriteOptions(options: LmdbWriteOptions | undefined): void {
  if (options === undefined || areValid(options, writeRules)) return
  rejectViolations(violationsOf(options, writeRules))
}
