import { HashLog } from '../../src/log/hash-log.js'
import type { HashLogOptions } from '../../src/log/hash-log-options.js'

/** A log without a limit, in which no time passes and whose keys are hashed alike in each run, but for what is given. */
export function openLog(options: Partial<HashLogOptions> = {}): HashLog {
  return new HashLog({
    maxBytes: Infinity,
    hashKey: { low: 1, high: 2 },
    now: () => 0,
    besideBytes: () => 0,
    onExpired: () => {},
    ...options,
  })
}

/** Writes an entry that does not expire. */
export function putInto(log: HashLog, key: Uint8Array, value: Uint8Array): void {
  log.write(log.seek(key, 0, key.length), value, 0, value.length, Infinity)
}

export function removeFrom(log: HashLog, key: Uint8Array): void {
  log.remove(log.seek(key, 0, key.length))
}
