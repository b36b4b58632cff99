// Outputs that are delivered exactly once to a system that can write them, and a note of how far it has come, in one step.
//
// (1) Outputs are in the state of the job until a cut has them: nothing is delivered that no cut names.
// (2) The note says, for each lineage, the newest epoch and how many of its outputs were written. It is written with them, or not at all.
// (3) Whoever owns the job and opens the sink takes it over: from then on the system refuses what comes of anyone before (a zombie).
// (4) Epochs of one lineage are those of one job. What two jobs have made of one checkpoint, of which one goes on from a copy, would be taken for each
//     other's: where the note has later epochs than the job that opens the sink knows of, or one that another run has prepared, that is told.
// (5) What the note has already is not written again. Where it lacks what is not in the state any more, outputs were lost outside.

import { randomUUID } from 'node:crypto'
import { orAborted, throwIfAborted } from '../../base/abort.js'
import { StateError } from '../../base/errors.js'
import { type OutboxBatch, OutboxWriter } from '../../job/sink/outbox-writer.js'
import type {
  ClaimedSink,
  ClaimSinkOptions,
  EpochId,
  OpenSinkOptions,
  PreparedEpoch,
  Sink,
} from '../../job/sink/sink.js'
import { restoreFailed } from './restore-failed.js'

const DELIVERED_AT_ONCE = 1_000

/** How far outputs of a lineage have come. */
export interface NotedEpoch {
  readonly number: number
  /** Outputs of that epoch. */
  readonly outputs: number
  /** Who has prepared it, where that is noted. */
  readonly preparedBy?: string | undefined
}

/** Where outputs go, and the note beside them. Each call may be made again after an outage in which its answer was lost. */
export interface Ledger<Output> {
  /** Names the place in errors. */
  readonly place: string
  /** Takes it over, for a process that `checkOwner` says still owns the job. */
  claim(owner: string, checkOwner: (() => Promise<void>) | undefined): Promise<void>
  /**
   * Writes the outputs behind those that are noted, and the new note, in one step; nothing where that is all noted already. `FENCED` where the
   * owner is another one. Where outputs in front of these are not noted: the note, and nothing is written unless `acceptsLoss`.
   */
  append(batch: OutboxBatch<Output>, owner: string, acceptsLoss: boolean): Promise<LostOutputs | undefined>
  /** What is noted of a lineage. */
  noted(lineage: string): Promise<NotedEpoch | undefined>
  close(): Promise<void>
}

/** What is there of a lineage whose earlier outputs are not. */
export interface LostOutputs {
  readonly noted: NotedEpoch | undefined
}

/** Whether outputs that come in front of these are not noted: the state does not have them any more, as they were acknowledged. */
export function isLost(noted: NotedEpoch | undefined, { number }: EpochId, first: number): boolean {
  if (noted === undefined) return number > 0 || first > 0
  if (noted.number > number) return false
  return noted.number < number ? noted.number < number - 1 || first > 0 : first > noted.outputs
}

export interface LedgerSinkOptions {
  /** How many outputs are written in one step. Default 1,000. */
  readonly maxOutputs?: number
  /**
   * What happens where outputs that the job has delivered are not noted there (it was emptied, or went back to a backup): `'fail'`, the default,
   * is `RESTORE_FAILED`; `'continue'` goes on without them. So it is where epochs were written that the checkpoints do not know of, because these are a copy of
   * others, or an older state: `'continue'` takes epochs with the same numbers for written.
   */
  readonly onLostOutputs?: 'fail' | 'continue'
}

/** A sink that delivers to a ledger, which is made each time it is opened. */
export function ledgerSink<Output>(
  name: string,
  ledgerOf: () => Ledger<Output>,
  options: LedgerSinkOptions,
): Sink<Output> {
  const claimed = async ({ checkOwner, signal }: ClaimSinkOptions): Promise<ClaimedSink<Output>> => {
    // What is begun goes on however little it is waited for, and would take the sink from whoever has it.
    throwIfAborted(signal, `open ${name}`)
    const ledger = ledgerOf()
    const owner = randomUUID()
    try {
      const taking = ledger.claim(owner, checkOwner)
      await (signal === undefined ? taking : orAborted(taking, signal, () => aborted(name)))
    } catch (error) {
      await ledger.close()
      throw error
    }
    return {
      open: (request) => openWriter(request, ledger, owner, options),
      close: () => ledger.close(),
    }
  }
  const claim = async (claiming: ClaimSinkOptions): Promise<ClaimedSink<Output>> => {
    const { open, close } = await claimed(claiming)
    return {
      // Since it was claimed a whole state may have been restored.
      open: async (request) => {
        try {
          await request.checkOwner?.()
        } catch (error) {
          await close()
          throw error
        }
        return await open(request)
      },
      close,
    }
  }
  const open = async (request: OpenSinkOptions) => await (await claimed(request)).open(request)
  return Object.freeze({ name, guarantee: 'transactional', open, claim })
}

async function openWriter<Output>(
  request: OpenSinkOptions,
  ledger: Ledger<Output>,
  owner: string,
  { maxOutputs = DELIVERED_AT_ONCE, onLostOutputs = 'fail' }: LedgerSinkOptions,
): Promise<OutboxWriter<Output>> {
  const { prepared, signal } = request
  try {
    throwIfAborted(signal, `open ${ledger.place}`)
    const writer = new OutboxWriter<Output>(request, {
      maxOutputs,
      preparedBy: owner,
      deliver: async (batch) => {
        const lost = await ledger.append(batch, owner, onLostOutputs === 'continue')
        if (lost !== undefined) throw lostOutputs(ledger.place, batch, lost)
      },
      close: () => ledger.close(),
    })
    const last = prepared.at(-1)
    const goesOn = last !== undefined && last.epoch.lineage === request.lineage
    const commit = async () => {
      if (goesOn && onLostOutputs === 'fail') await refuseCopies(ledger, last)
      await writer.commitAll(prepared)
    }
    const committing = commit()
    await (signal === undefined ? committing : orAborted(committing, signal, () => aborted(ledger.place)))
    return writer
  } catch (error) {
    await ledger.close()
    throw error
  }
}

const aborted = (what: string) => new StateError('ABORTED', { operation: `open ${what}` })

/** (4). */
async function refuseCopies<Output>(ledger: Ledger<Output>, { epoch, token }: PreparedEpoch): Promise<void> {
  const noted = await ledger.noted(epoch.lineage)
  if (noted === undefined) return
  const { by } = (token ?? {}) as { readonly by?: unknown }
  const isOther = noted.preparedBy !== undefined && by !== undefined && noted.preparedBy !== by
  if (noted.number < epoch.number || (noted.number === epoch.number && !isOther)) return
  const has = `epoch ${noted.number} of ${epoch.lineage} was written there`
  const knows =
    noted.number === epoch.number ? 'by another job' : `and the checkpoints know of ${epoch.number}`
  throw restoreFailed(
    `${ledger.place}: ${has}, ${knows}: they are a copy of those that another job goes on from, or an older state of them; \`lineage: 'new'\` goes on from them on purpose`,
  )
}

function lostOutputs(
  place: string,
  { epoch, first }: OutboxBatch<unknown>,
  { noted }: LostOutputs,
): StateError {
  const has = noted === undefined ? 'none' : `those up to output ${noted.outputs} of epoch ${noted.number}`
  const wanted = `output ${first} of epoch ${epoch.number} of ${epoch.lineage}`
  const reason = `${place}: outputs in front of ${wanted} were delivered, and are not there any more; it has ${has}`
  return restoreFailed(reason)
}
