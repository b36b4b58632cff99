// Queries the typed store that another process has open for writing, and says what came of it. argv: path.

import { isStateError } from '../../../src/base/errors.js'
import { LmdbStateBackend } from '../../../src/lmdb/lmdb-state-backend.js'
import { StateStore } from '../../../src/state.js'
import { keyOf, readers, version1, version3 } from './versioned-store.js'

async function codeOf(call: () => unknown): Promise<string> {
  try {
    await call()
    return 'nothing'
  } catch (error) {
    return isStateError(error) ? error.code : String(error)
  }
}

const [path = ''] = process.argv.slice(2)
await using backend = await LmdbStateBackend.open({ path, readOnly: true })
const said: { [what: string]: unknown } = { newer: await codeOf(() => StateStore.open(backend, version3)) }
said['other'] = await codeOf(() => StateStore.open(backend, version1))
if (said['other'] === 'INCOMPATIBLE') {
  const store = await StateStore.open(backend, readers)
  said['total'] = store.total.get(keyOf(3))
  said['visits'] = store.visits.get(keyOf(3))
  said['byLast'] = [...store.profile.query('byLast', { eq: 'Lee3' })].length
  said['entries'] = [...store.profile.entries()].length
  said['put'] = await codeOf(() => store.visits.put(keyOf(3), 9))
  said['watermark'] = [await codeOf(() => store.advanceWatermark(2_000)), store.watermark]
  said['planned'] = (await store.plan()).states.map(({ entries }) => entries)
  said['migrated'] = await codeOf(() => store.migrate())
}
process.stdout.write(JSON.stringify(said))
