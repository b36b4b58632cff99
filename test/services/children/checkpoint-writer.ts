// Makes checkpoints in a store, mirrors them to a second place there and copies them to a third, to be killed:
// `node checkpoint-writer.js <store> <address> <name> [rounds]`. It goes on from what it restores, and says what it has come to:
// `begun N`, `published N`, `mirrored N`, `copied N`.

import { setTimeout as sleep } from 'node:timers/promises'
import { isStateError } from '../../../src/base/errors.js'
import { CheckpointArchive } from '../../../src/checkpoint/archive/checkpoint-archive.js'
import { CheckpointCoordinator } from '../../../src/checkpoint/coordinator/checkpoint-coordinator.js'
import { MemoryStateBackend } from '../../../src/memory/memory-state-backend.js'
import { advance, type ObjectStore, placeIn, roundOf } from './checkpoint-places.js'

const [store = '', address = '', name = '', rounds = 'Infinity'] = process.argv.slice(2)
const place = (part: string) => placeIn(store as ObjectStore, address, `${name}/${part}`)
const say = (text: string) => void process.stdout.write(`${text}\n`)

/** As long as a server may take to come back, on a machine that has much else to do. */
const AWAY_LIMIT_MS = 60_000

/** A server that is ended may be away for longer than a storage tries: who makes checkpoints tries again. */
async function untilThereIsAnAnswer<Result>(step: () => Promise<Result>): Promise<Result> {
  const deadline = performance.now() + AWAY_LIMIT_MS
  for (;;) {
    try {
      return await step()
    } catch (error) {
      const cause = isStateError(error, 'CHECKPOINT_FAILED') ? error.cause : error
      if (!isStateError(cause, 'STORAGE_ERROR') || performance.now() > deadline) throw error
      await sleep(100)
    }
  }
}

const storage = place('own')
const copies = place('copies')
const archive = new CheckpointArchive(storage)
const backend = new MemoryStateBackend()
const coordinator = new CheckpointCoordinator(backend, {
  storage,
  mirror: { storage: place('mirror'), maxCheckpoints: 2 },
  maxCheckpoints: 2,
  graceMs: 0,
})
await coordinator.restoreLatest()
await coordinator.start()
const first = (await roundOf(backend)) + 1
for (let round = first; round < first + Number(rounds); round++) {
  await advance(backend, round)
  say(`begun ${round}`)
  const { id } = await untilThereIsAnAnswer(() => coordinator.createCheckpoint())
  say(`published ${round}`)
  // Beside the mirror, which reads the same segments.
  await untilThereIsAnAnswer(() => archive.copyTo(copies, id, { resumable: true }))
  say(`copied ${round}`)
  const { mirror } = coordinator.stats()
  if (mirror?.lagMs === 0) say(`mirrored ${round}`)
}
await coordinator.shutdown()
await backend.close()
say('done')
