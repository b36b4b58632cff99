import type { JsonValue } from '../base/json.js'
import { requireGiven } from './at-once.js'
import type { EpochId, PreparedEpoch, SinkWriter } from './sink/sink.js'

/** The outputs of a job on their way to its sink: which epoch they are of, and what was prepared. */
export class Outputs<Output> {
  readonly #writer: SinkWriter<Output>
  #epoch: EpochId
  /** How many were written of the epoch at hand. */
  #written = 0
  #total = 0
  #prepared: readonly PreparedEpoch[]

  /** @param prepared what the cut names that the sink was opened with. */
  constructor(writer: SinkWriter<Output>, epoch: EpochId, prepared: readonly PreparedEpoch[]) {
    this.#writer = writer
    this.#epoch = epoch
    this.#prepared = prepared
  }

  get epoch(): EpochId {
    return this.#epoch
  }

  get total(): number {
    return this.#total
  }

  /** Epochs that a cut is to name: those that are not known to be committed, and always the newest one. */
  get prepared(): readonly PreparedEpoch[] {
    return this.#prepared
  }

  async write(outputs: readonly Output[]): Promise<void> {
    if (outputs.length === 0) return
    requireGiven(outputs)
    await this.#writer.write(outputs, this.#epoch, this.#written)
    this.#written += outputs.length
    this.#total += outputs.length
  }

  /** Ends the epoch at hand: its outputs are durable, and a cut may name them. */
  async prepare(): Promise<void> {
    const epoch = this.#epoch
    const token: JsonValue = await this.#writer.prepare(epoch)
    this.#prepared = [...this.#prepared, { epoch, token }]
    this.#epoch = { lineage: epoch.lineage, number: epoch.number + 1 }
    this.#written = 0
  }

  /** Whether the sink has that part of `commit`. */
  get delivers(): boolean {
    return this.#writer.deliver !== undefined
  }

  /** The part of `commit` that may go on beside events and `write`. */
  async deliver(prepared: readonly PreparedEpoch[]): Promise<void> {
    for (const each of prepared) {
      if (this.#prepared.some((waiting) => isSame(waiting, each))) await this.#writer.deliver?.(each)
    }
  }

  /** The cut that names them is safe. */
  async commit(prepared: readonly PreparedEpoch[]): Promise<void> {
    for (const each of prepared) {
      if (!this.#prepared.some((waiting) => isSame(waiting, each))) continue
      await this.#writer.commit(each)
      this.#prepared = this.#prepared.filter(
        (waiting, i) => i === this.#prepared.length - 1 || !isSame(waiting, each),
      )
    }
  }

  async close(): Promise<void> {
    await this.#writer.close()
  }
}

const isSame = (left: PreparedEpoch, right: PreparedEpoch): boolean =>
  left.epoch.lineage === right.epoch.lineage && left.epoch.number === right.epoch.number
