// Signs of life of a job, in shared memory: what the thread does is seen without a message, also while its port is full.
//
// (1) The thread beats while its event loop runs and the job does not wait for a call of the storage, and whenever such a
//     call has come back. So a job without a beat waits for the storage, or its thread hangs.
// (2) A call that has much to do may be silent for longer, and says so before.
// (3) The other way, the thread that asked for the job says how busy it is: what the job hands to other threads depends on it.

import { type CancelTimer, systemClock } from '../../base/clock.js'
import type {
  ObjectReader,
  ObjectSource,
  ObjectStorage,
  ObjectWriter,
} from '../../storage/checkpoint-storage.js'

const BEATS = 0
const ALLOWANCE_MS = 1
const HOST_LOAD = 2
const WORDS = 3
const BEAT_MS = 100
/** Shares are told as whole numbers of these parts. */
const PARTS = 1_000

/** A storage that makes fewer bytes durable in a millisecond than that (10 MB/s) is taken for one that does not answer. */
const SLOWEST_BYTES_PER_MS = 10_000

/** The words that two threads share; one beats, the other one looks, and tells how busy it is. */
export class JobPulse {
  readonly words: Int32Array

  constructor(
    words: Int32Array = new Int32Array(new SharedArrayBuffer(WORDS * Int32Array.BYTES_PER_ELEMENT)),
  ) {
    this.words = words
  }

  get beats(): number {
    return Atomics.load(this.words, BEATS)
  }

  /** How much longer than otherwise it may be without a beat, in milliseconds. */
  get allowanceMs(): number {
    return Atomics.load(this.words, ALLOWANCE_MS)
  }

  /** For what share of its time the thread that asked for the job is busy, as it was told last: 0 to 1. */
  set hostLoad(share: number) {
    Atomics.store(this.words, HOST_LOAD, Math.round(share * PARTS))
  }
}

/** The thread's end of a {@link JobPulse}. */
export class PulseGiver {
  readonly #words: Int32Array
  #waits = 0
  #cancelTimer: CancelTimer = () => {}

  constructor(words: Int32Array) {
    this.#words = words
    this.#goOn()
  }

  /** Waits for a call of the storage that has so many bytes to make durable. */
  async during<Result>(call: Promise<Result>, bytes = 0): Promise<Result> {
    const allowanceMs = Math.min(2 ** 31 - 1, Math.ceil(bytes / SLOWEST_BYTES_PER_MS))
    this.#waits++
    if (allowanceMs > 0) Atomics.store(this.#words, ALLOWANCE_MS, allowanceMs)
    try {
      return await call
    } finally {
      this.#waits--
      if (allowanceMs > 0) Atomics.store(this.#words, ALLOWANCE_MS, 0)
      this.#beat()
    }
  }

  /** For what share of its time the thread that asked for the job is busy: 0 to 1. */
  get hostLoad(): number {
    return Atomics.load(this.#words, HOST_LOAD) / PARTS
  }

  /** The job has ended. */
  stop(): void {
    this.#cancelTimer()
  }

  #goOn(): void {
    this.#cancelTimer = systemClock.setTimer(() => {
      if (this.#waits === 0) this.#beat()
      this.#goOn()
    }, BEAT_MS)
  }

  #beat(): void {
    Atomics.add(this.#words, BEATS, 1)
  }
}

/** A source each of whose calls is waited for with a pulse. */
export function pulsingSource(source: ObjectSource, pulse: PulseGiver): ObjectSource {
  const pulsingReader = (reader: ObjectReader): ObjectReader => ({
    sizeBytes: reader.sizeBytes,
    readAhead: reader.readAhead,
    read: (offset, length) => pulse.during(reader.read(offset, length)),
    close: () => pulse.during(reader.close()),
  })
  return {
    open: async (name, options) => {
      const reader = await pulse.during(source.open(name, options))
      return reader === undefined ? undefined : pulsingReader(reader)
    },
    read: (name, maxBytes) => pulse.during(source.read(name, maxBytes)),
  }
}

/** As {@link pulsingSource}, for writes too. */
export function pulsingStorage(storage: ObjectStorage, pulse: PulseGiver): ObjectStorage {
  const pulsingWriter = (writer: ObjectWriter): ObjectWriter => {
    let written = 0
    const prepare = writer.prepare?.bind(writer)
    return {
      write: (bytes) => {
        written += bytes.length
        return pulse.during(writer.write(bytes))
      },
      ...(prepare && { prepare: () => pulse.during(prepare(), written) }),
      commit: () => pulse.during(writer.commit(), written),
      abort: () => pulse.during(writer.abort()),
    }
  }
  return {
    ...pulsingSource(storage, pulse),
    create: async (name) => pulsingWriter(await pulse.during(storage.create(name))),
  }
}
