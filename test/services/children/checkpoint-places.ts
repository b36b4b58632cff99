// Where the processes that are killed keep their checkpoints, and what is in them.

import { createCipheriv } from 'node:crypto'
import { ContainerClient, StorageSharedKeyCredential } from '@azure/storage-blob'
import { AzureCheckpointStorage } from '../../../src/azure.js'
import type { StateBackend } from '../../../src/backend/state-backend.js'
import type { BucketCheckpointStorage } from '../../../src/bucket/bucket-checkpoint-storage.js'
import { S3CheckpointStorage } from '../../../src/s3.js'

export type ObjectStore = 'versitygw' | 'azurite' | 'moto'

/** Small enough that each base of {@link VALUES} values is several parts. */
const PART_BYTES = 5 * 1024 * 1024
const VALUES = 24
const VALUE_BYTES = 256 * 1024
/** Each round changes every third value. */
const STRIDE = 3

/** Azurite's own account, the same everywhere: https://learn.microsoft.com/azure/storage/common/storage-use-azurite */
export const azuriteAccount: StorageSharedKeyCredential = new StorageSharedKeyCredential(
  'devstoreaccount1',
  'Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==',
)

export const s3Credentials = { accessKeyId: 'test', secretAccessKey: 'testsecret' }

export function containerAt(address: string): ContainerClient {
  return new ContainerClient(`${address}/checkpoints`, azuriteAccount, { retryOptions: { maxTries: 1 } })
}

export function placeIn(store: ObjectStore, address: string, prefix: string): BucketCheckpointStorage {
  if (store === 'azurite')
    return new AzureCheckpointStorage({ container: containerAt(address), prefix, partBytes: PART_BYTES })
  // moto's conditions hold most of the time only, and nobody else writes here.
  const exclusive = store === 'moto'
  const place = { bucket: 'bucket', prefix, endpoint: address, credentials: s3Credentials }
  return new S3CheckpointStorage({ ...place, partBytes: PART_BYTES, exclusive })
}

const bytes = (text: string) => new Uint8Array(Buffer.from(text))
export const ROUND_KEY: Uint8Array = bytes('round')
const keyOf = (i: number) => bytes(`value ${String(i).padStart(3, '0')}`)

/** Does not compress: a key stream. */
function valueOf(i: number, round: number): Uint8Array {
  const key = Buffer.alloc(16)
  key.writeUInt32LE(round * VALUES + i)
  return new Uint8Array(
    createCipheriv('aes-128-ctr', key, Buffer.alloc(16)).update(Buffer.alloc(VALUE_BYTES)),
  )
}

/** Makes the state of one round that of the next. The first has all values. */
export async function advance(backend: StateBackend, round: number): Promise<void> {
  for (let i = 0; i < VALUES; i++)
    if (round === 1 || i % STRIDE === round % STRIDE) await backend.put(keyOf(i), valueOf(i, round))
  await backend.put(ROUND_KEY, bytes(String(round)))
}

/** What is wrong with a state that is that of some round; `undefined`: it is exact. */
export async function problemOf(backend: StateBackend): Promise<string | undefined> {
  const round = await roundOf(backend)
  if ((await backend.count()) !== VALUES + 1) return `there are ${await backend.count()} entries`
  for (let i = 0; i < VALUES; i++) {
    let changed = round
    while (changed > 1 && i % STRIDE !== changed % STRIDE) changed--
    const found = await backend.get(keyOf(i))
    if (found === undefined || Buffer.compare(found, valueOf(i, changed)) !== 0)
      return `value ${i} is not that of round ${round}`
  }
  return undefined
}

/** The round that a state is of; 0 where it is empty. */
export async function roundOf(backend: StateBackend): Promise<number> {
  const found = await backend.get(ROUND_KEY)
  return found === undefined ? 0 : Number(Buffer.from(found).toString())
}
