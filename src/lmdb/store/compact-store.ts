// Gives disk space back: LMDB reuses free pages but never shrinks its file, so the content is copied to a new one.
//
// (1) No commit happens from before the copy is begun until the new file is in service, so nothing can be lost between them.
// (2) The new file is durable and verified, every record of it, before it counts; until then the old one does.
// (3) It is put in the old one's place by one durable step, the identity's replacement. A crash leaves one of the two.
// (4) Snapshots that are open keep the old file, which is removed when the last of them is closed.

import { setPatientTimer, systemClock } from '../../base/clock.js'
import { isStateError, reasonOf, StateError } from '../../base/errors.js'
import type { GroupCommit } from '../commit/group-commit.js'
import type { CommitResult } from '../commit/store-writer.js'
import type { WriterPort } from '../commit/writer-port.js'
import type { Environment } from './environment.js'
import type { StoreDirectory } from './store-directory.js'
import { verifyDataFile } from './verify-process.js'

/** A disk that copies more slowly than this counts as hanging. */
const MIN_COPY_BYTES_PER_MS = 1_000

export interface Compaction {
  readonly directory: StoreDirectory
  readonly environment: Environment
  readonly writer: WriterPort
  readonly commit: GroupCommit
  /** How long the copy may take, beside what its bytes need. */
  readonly timeoutMs: number
  readonly usedBytes: number
  /** The writer thread has the new file: the readers' side follows. */
  readonly onSwitched: (dataPath: string, result: CommitResult) => void
}

/** `TRANSACTION_FAILED` where writes came faster than they could be held back; the store is then as it was. */
export async function compactStore(compaction: Compaction): Promise<void> {
  const { directory, commit, writer } = compaction
  await commit.pause({ yielding: true })
  try {
    const dataPath = await directory.nextDataPath()
    try {
      await copy(compaction, dataPath)
      if (!commit.holdPause()) {
        const reason = 'more was written meanwhile than can wait for it; compact when less is written'
        throw new StateError('TRANSACTION_FAILED', { operation: 'the compaction', reason })
      }
    } catch (error) {
      await directory.dropNextData().catch(() => {})
      throw error
    }
    try {
      await directory.adoptNextData()
      const result = await writer.ask({ kind: 'switch', dataPath })
      compaction.onSwitched(dataPath, result as CommitResult)
    } catch (error) {
      // Which of the files is in force cannot be told any more: what is written now could be lost.
      const failure = isStateError(error, 'STORAGE_ERROR') ? error : storageError(error)
      commit.fail(failure)
      throw failure
    }
  } finally {
    commit.resume()
  }
}

async function copy({ environment, directory, usedBytes, timeoutMs }: Compaction, to: string): Promise<void> {
  await within(environment.root.backup(to, true), timeoutMs + usedBytes / MIN_COPY_BYTES_PER_MS)
  await directory.sealNextData()
  const { ok, problems } = await verifyDataFile(to)
  if (ok) return
  const [problem] = problems
  const reason = `the copy does not verify: ${problem?.what}: ${problem?.reason}`
  throw new StateError('CORRUPTION', { what: to, reason })
}

/** The copy is made by a thread of LMDB's package: time in which this thread was held, and could not hear of its end, does not count. */
async function within(work: Promise<void>, timeoutMs: number): Promise<void> {
  let cancelTimer = () => {}
  const late = new Promise<never>((_, reject) => {
    const expire = () => reject(new Error(`the copy took more than ${Math.round(timeoutMs)} ms`))
    cancelTimer = setPatientTimer(systemClock, expire, timeoutMs)
  })
  try {
    await Promise.race([work, late])
  } catch (error) {
    throw storageError(error)
  } finally {
    cancelTimer()
  }
}

function storageError(cause: unknown): StateError<'STORAGE_ERROR'> {
  return new StateError(
    'STORAGE_ERROR',
    { storage: 'lmdb', operation: 'compact', reason: reasonOf(cause) },
    { cause },
  )
}
