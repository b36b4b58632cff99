// Random sequences of commands on a store on a server and on the model beside it.

import type { StateBackend } from '../../src/backend/state-backend.js'
import { WriteBatch } from '../../src/backend/write-batch.js'

/** A batch that only expects something removes what is due in passing, and counts for nothing. */
export const sweepByWriting = (engine: StateBackend): Promise<void> =>
  engine.write(new WriteBatch().expect(Buffer.from('never there'), undefined))
