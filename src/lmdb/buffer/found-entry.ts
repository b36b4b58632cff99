import type { HashLog } from '../../log/hash-log.js'

/** Where a search has found a key: the caller's, so that nothing is allocated for a read. */
export class FoundEntry {
  log: HashLog
  /** Of the newest version in `log`, which may be a tombstone. */
  address = 0

  /** Any log, until something is found. */
  constructor(log: HashLog) {
    this.log = log
  }

  /** Notes it where the address is one; returns whether it is. */
  at(log: HashLog, address: number): boolean {
    if (address === 0) return false
    this.log = log
    this.address = address
    return true
  }

  is(log: HashLog, address: number): boolean {
    return this.address === address && this.log === log
  }
}
