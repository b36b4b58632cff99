import { type BatchCursor, isDelete, OperationKind } from '../write-batch.js'

/** What a facade counts for its engine (see `BackendStats`). */
export class Counters {
  gets = 0
  hits = 0
  puts = 0
  deletes = 0
  bytesWritten = 0
  flushes = 0

  noteRead(value: Uint8Array | undefined): void {
    this.gets++
    if (value !== undefined) this.hits++
  }

  notePut(keyBytes: number, valueBytes: number): void {
    this.puts++
    this.bytesWritten += keyBytes + valueBytes
  }

  /** Every put and delete of a batch that was applied. */
  noteBatch(cursor: BatchCursor): void {
    cursor.rewind()
    while (cursor.next()) {
      if (cursor.kind === OperationKind.PUT) this.notePut(cursor.keyLength, cursor.valueLength)
      else if (isDelete(cursor.kind)) this.deletes++
    }
  }

  /** What was counted elsewhere, of writes that are in force now. */
  add({ puts, deletes, bytesWritten }: Counters): void {
    this.puts += puts
    this.deletes += deletes
    this.bytesWritten += bytesWritten
  }

  read(): {
    gets: number
    hits: number
    misses: number
    puts: number
    deletes: number
    bytesWritten: number
    flushes: number
  } {
    const { gets, hits, puts, deletes, bytesWritten, flushes } = this
    return { gets, hits, misses: gets - hits, puts, deletes, bytesWritten, flushes }
  }
}
