import type { HashLog } from '../hash-log.js'
import { Uint32List } from '../uint32-list.js'

/**
 * The latest versions of the keys of `[from, until)`, tombstones left out, in no order. They stay valid until the log is written
 * to. Found by the order of keys where there is one. Otherwise by a look at every entry where it lies, which takes less than a
 * tenth of what sorting them would.
 */
export function latestBetween(log: HashLog, from: Uint8Array, until: Uint8Array | undefined): Uint32Array {
  const { ordered, entries } = log
  const found = new Uint32List()
  const add = (address: number) => {
    if (address !== 0 && !entries.isTombstone(address)) found.push(address)
  }
  const listed = ordered.between(from, until)
  if (listed === undefined) {
    const latest = log.latestVersions()
    for (let address = latest.next(); address !== 0; address = latest.next()) {
      if (ordered.isBetween(address, from, until)) add(address)
    }
    return found.toArray()
  }
  for (let i = 0; i < listed.length; i++) add(log.latest(listed.at(i)))
  return withoutRepeats(found.toArray())
}

/** A key that went and came again may be listed twice. */
function withoutRepeats(addresses: Uint32Array): Uint32Array {
  return addresses.sort().filter((address, i) => i === 0 || address !== addresses[i - 1])
}
