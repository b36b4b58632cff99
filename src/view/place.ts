// What lies at a path: checkpoints, or a store of the LMDB engine.

import { readdir, stat } from 'node:fs/promises'
import { env } from 'node:process'
import {
  CheckpointArchive,
  type CheckpointMetadata,
  type CheckpointStorage,
  FileCheckpointStorage,
  type SkippedCheckpoint,
} from '../index.js'
import type { S3CheckpointStorage } from '../s3.js'
import { fileError, hintFor } from './file-failure.js'
import { UsageError } from './usage-error.js'

export interface CheckpointPlace {
  readonly kind: 'checkpoints'
  readonly path: string
  readonly storage: CheckpointStorage
  readonly archive: CheckpointArchive
}

export interface StorePlace {
  readonly kind: 'store'
  readonly path: string
}

export type Place = CheckpointPlace | StorePlace

/** The name that tells a store of the LMDB engine (docs/format/lmdb-store.md). */
const STORE_IDENTITY = 'holdfast-lmdb.json'

/** Names of files that only a storage of checkpoints has: also of one that is empty. */
const CHECKPOINT_FILE = /^chk-\d{10}|^\.lease-\d{10}/

/** What lies there. `UsageError` where it is neither. `offThread` as for an archive: a command has nothing else to do. */
export async function openPlace(path: string, offThread = false): Promise<Place> {
  if (path.startsWith('s3://')) return await checkpointsAt(path, offThread)
  const names = await namesIn(path)
  if (names.includes(STORE_IDENTITY)) return { kind: 'store', path }
  if (names.some((name) => CHECKPOINT_FILE.test(name))) return await checkpointsAt(path, offThread)
  throw new UsageError(`${path} holds neither checkpoints nor a store of the LMDB engine`)
}

/** Checkpoints, which have to be there. */
export async function openCheckpoints(path: string): Promise<CheckpointPlace> {
  const place = await openPlace(path)
  if (place.kind === 'checkpoints') return place
  throw new UsageError(`${path} is a store of the LMDB engine; this command reads checkpoints`)
}

/** A place for checkpoints, which may be new: a directory, or `s3://bucket/prefix`. */
export async function checkpointsAt(path: string, offThread = false): Promise<CheckpointPlace> {
  const isBucket = path.startsWith('s3://')
  if (!isBucket && (await isOtherThanDirectory(path))) throw new UsageError(`${path} is not a directory`)
  const storage = isBucket ? await bucketAt(path) : new FileCheckpointStorage(path)
  return storedPlace(path, storage, offThread)
}

/** Checkpoints in a storage; `path` is what it is called. */
export const storedPlace = (
  path: string,
  storage: CheckpointStorage,
  offThread: boolean,
): CheckpointPlace => ({
  kind: 'checkpoints',
  path,
  storage,
  archive: new CheckpointArchive(storage, { offThread }),
})

/**
 * The bucket at an address. Everything else is from the environment, under the names that the AWS command line uses: credentials,
 * `AWS_REGION`, and `AWS_ENDPOINT_URL_S3` or `AWS_ENDPOINT_URL` for other stores.
 */
export async function bucketAt(address: string): Promise<S3CheckpointStorage> {
  const [, bucket = '', prefix = ''] = /^s3:\/\/([^/]*)\/?(.*)$/.exec(address) ?? []
  const { AWS_REGION: region, AWS_DEFAULT_REGION: otherRegion = region } = env
  const { AWS_ENDPOINT_URL: common, AWS_ENDPOINT_URL_S3: endpoint = common } = env
  const { S3CheckpointStorage } = await import('../s3.js')
  return new S3CheckpointStorage({
    bucket,
    ...(prefix === '' ? {} : { prefix }),
    ...(otherRegion === undefined ? {} : { region: region ?? otherRegion }),
    ...(endpoint === undefined ? {} : { endpoint }),
  })
}

const isOtherThanDirectory = async (path: string): Promise<boolean> =>
  !((await stat(path).catch(() => undefined))?.isDirectory() ?? true)

async function namesIn(path: string): Promise<string[]> {
  if (path === '') throw new UsageError('the path is empty')
  try {
    if (!(await stat(path)).isDirectory()) throw new UsageError(`${path} is not a directory`)
    return await readdir(path)
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code
    if (code === 'ENOENT') throw new UsageError(`${path} does not exist${hintFor(path)}`)
    throw fileError(path, error)
  }
}

/**
 * The checkpoint with that id, `chk-` and zeros left out if one likes; rejects with its own error where it cannot be read. Without an id, the newest one that can be read; newer ones, which cannot
 * be, are told to `onNewer`.
 */
export async function chosenCheckpoint(
  place: CheckpointPlace,
  id: string | undefined,
  onNewer?: (skipped: SkippedCheckpoint) => void,
): Promise<CheckpointMetadata> {
  const there = await listedCheckpoints(place)
  const broken = id === undefined || id === 'latest' ? undefined : skippedAt(there, sequenceIn(id))
  // The error of its own: by its code the outcome is told, and what to do.
  if (broken !== undefined) await place.archive.manifest(broken.id)
  return chosenOf(place, there, id, onNewer)
}

const skippedAt = ({ skipped }: ListedCheckpoints, sequence: number): SkippedCheckpoint | undefined =>
  skipped.find((each) => sequenceIn(each.id) === sequence)

/** What a storage holds: the checkpoints that can be read, newest first, and those that cannot. */
export interface ListedCheckpoints {
  readonly listed: readonly CheckpointMetadata[]
  readonly skipped: readonly SkippedCheckpoint[]
}

export async function listedCheckpoints(
  { archive }: CheckpointPlace,
  signal?: AbortSignal,
): Promise<ListedCheckpoints> {
  const skipped: SkippedCheckpoint[] = []
  const onSkipped = (each: SkippedCheckpoint) => void skipped.push(each)
  const listed = await archive.list({ onSkipped, ...(signal === undefined ? {} : { signal }) })
  return { listed, skipped }
}

/** As {@link chosenCheckpoint}, of those that are listed already. */
export function chosenOf(
  { path }: CheckpointPlace,
  there: ListedCheckpoints,
  id: string | undefined,
  onNewer?: (skipped: SkippedCheckpoint) => void,
): CheckpointMetadata {
  const { listed, skipped } = there
  const [newest] = listed
  if (id === undefined || id === 'latest') {
    if (newest === undefined)
      throw new UsageError(`${path} holds no checkpoint that can be read; try: holdfast verify ${path}`)
    for (const each of skipped) if (sequenceIn(each.id) > newest.sequence) onNewer?.(each)
    return newest
  }
  const sequence = sequenceIn(id)
  const chosen = listed.find((checkpoint) => checkpoint.sequence === sequence)
  if (chosen !== undefined) return chosen
  const broken = skippedAt(there, sequence)
  if (broken !== undefined) throw new UsageError(`${broken.id} cannot be read: ${broken.reason}`)
  const first = listed.slice(0, 5).map((checkpoint) => checkpoint.id)
  throw new UsageError(
    `${path} holds no checkpoint ${id}; there are: ${first.join(', ')}${listed.length > 5 ? ', …' : ''}`,
  )
}

/** The number in an id; `UsageError` where it is none. */
export function sequenceIn(id: string): number {
  const digits = /^(?:chk-)?(\d{1,16})$/.exec(id)?.[1]
  if (digits === undefined) throw new UsageError(`${id} is no id of a checkpoint: chk-0000000001, or 1`)
  return Number(digits)
}
