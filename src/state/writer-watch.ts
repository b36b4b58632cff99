// A store that is open for reading only, while another process writes: what it knows of the store is looked at again.
//
// (1) The watermark is taken before a read, the record of the schema after it: where the record is what it was, the read has found
//     what it looked for where it looked. A read that comes upon another record fails, unless that changes nothing for it.

import { SCHEMA_KEY } from '../backend/schema-entry.js'
import type { SyncStateBackend } from '../backend/state-backend.js'
import { equalBytes } from '../base/bytes.js'
import { type EventTime, TIME_KEY } from './time/event-time.js'

export class WriterWatch {
  readonly #backend: SyncStateBackend
  readonly #time: EventTime
  readonly #changed: (record: Uint8Array | undefined) => void
  #seen: Uint8Array | undefined

  /** @param changed is told of another record; it throws where reading cannot go on, and is then asked again each time. */
  constructor(backend: SyncStateBackend, time: EventTime, changed: (record: Uint8Array | undefined) => void) {
    this.#backend = backend
    this.#time = time
    this.#changed = changed
  }

  beforeRead(): void {
    const time = this.#backend.getSync(TIME_KEY)
    if (time !== undefined) this.#time.load(time)
  }

  afterRead(): void {
    const record = this.#backend.getSync(SCHEMA_KEY)
    const seen = this.#seen
    if (record !== undefined && seen !== undefined && equalBytes(record, seen)) return
    this.#changed(record)
    this.#seen = record
  }
}
