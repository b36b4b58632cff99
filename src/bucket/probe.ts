// Asks a store whether it keeps what checkpoints rest on. Many that speak S3 accept a condition and ignore it, or compare and then
// write in two steps: of 32 who create one object at once, several are told that they did.

import { randomBytes } from 'node:crypto'
import { equalBytes } from '../base/bytes.js'
import { isErrorLike } from '../base/shapes.js'
import { type Bucket, BucketFailure } from './bucket.js'
import type { UploadSettings } from './bucket-upload.js'

/** What was asked of a store, and what it did. */
export interface ProbeFinding {
  readonly question: ProbeQuestion
  readonly kept: boolean
  /** What it did, in a sentence. */
  readonly observed: string
}

/** What a store is asked: each is a promise that `BucketCheckpointStorage` rests on. */
export type ProbeQuestion =
  | 'one of many creators wins'
  | 'one of many replacers wins'
  | 'a wrong tag replaces nothing'
  | 'a read sees the write before it'
  | 'a list sees the write before it'
  | 'a removed object is gone'
  | 'a range is what was asked for'
  | 'an unchanged object is not sent again'
  | 'parts become one object'
  | 'parts are not one object before they are completed'
  | 'an aborted upload leaves nothing'
  | 'a wrong digest is refused'

/** What a probe of a store has found. */
export interface ProbeReport {
  readonly store: string
  /** Whether several processes may use the store: its conditions decide, for however many at once. */
  readonly canFence: boolean
  /** Whether all of it was kept. A wrong digest that is taken is a weakness, and no more than that: what was written is read back. */
  readonly findings: readonly ProbeFinding[]
}

const CROWD = 32
const ROUNDS = 4
const PROBE_PREFIX = 'probe/'
const MAX_BYTES = 1024 * 1024

type Answer = Pick<ProbeFinding, 'kept' | 'observed'>

/**
 * What keeps a store from fencing; empty where nothing was seen: the look before each first acquisition. A store that compares and writes in
 * two steps is lucky in many a round, so that there are as many as `probe()` has; the first that was not kept ends them.
 */
export async function lacksConditions(bucket: Bucket): Promise<string[]> {
  for (let round = 0; round < ROUNDS; round++) {
    const key = newKey()
    try {
      const answers = [await oneCreator(bucket, key), await oneReplacer(bucket, key)]
      // Whether a tag is compared at all is no matter of luck.
      if (round === 0) answers.push(await wrongTag(bucket, key))
      const lacks = answers.filter(({ kept }) => !kept).map(({ observed }) => observed)
      if (lacks.length > 0) return lacks
    } finally {
      await bucket.delete(key)
    }
  }
  return []
}

/** All of it. `bucket` is asked without retries: an answer that needs them is reported as a failure. */
export async function probeBucket(bucket: Bucket, { partBytes }: UploadSettings): Promise<ProbeReport> {
  const findings: ProbeFinding[] = []
  const ask = async (question: ProbeQuestion, answer: (key: string) => Promise<Answer>) => {
    const key = newKey()
    try {
      findings.push({ question, ...(await answer(key)) })
    } catch (error) {
      if (!(error instanceof BucketFailure)) throw error
      findings.push({ question, kept: false, observed: error.message })
    } finally {
      await bucket.delete(key).catch(() => {})
    }
  }
  for (let round = 0; round < ROUNDS; round++) {
    await ask('one of many creators wins', (key) => oneCreator(bucket, key))
    await ask('one of many replacers wins', async (key) => {
      await bucket.put(key, nonce())
      return await oneReplacer(bucket, key)
    })
  }
  await ask('a wrong tag replaces nothing', async (key) => {
    await bucket.put(key, nonce())
    return await wrongTag(bucket, key)
  })
  await ask('a read sees the write before it', (key) => readsItsWrites(bucket, key))
  await ask('a list sees the write before it', (key) => listsItsWrites(bucket, key))
  await ask('a removed object is gone', (key) => forgetsRemoved(bucket, key))
  await ask('a range is what was asked for', (key) => givesRanges(bucket, key))
  await ask('an unchanged object is not sent again', (key) => knowsUnchanged(bucket, key))
  await askAboutParts(bucket, ask, partBytes)
  if (bucket.putWithWrongDigest !== undefined)
    await ask('a wrong digest is refused', (key) => refusesWrongDigest(bucket, key))
  const canFence = findings.every(({ question, kept }) => kept || !FENCING.has(question))
  return { store: bucket.name, canFence, findings: mergedRounds(findings) }
}

const FENCING: ReadonlySet<ProbeQuestion> = new Set([
  'one of many creators wins',
  'one of many replacers wins',
  'a wrong tag replaces nothing',
  'a read sees the write before it',
])

/** One finding for each question: the first that was not kept, where there is one. */
function mergedRounds(findings: readonly ProbeFinding[]): ProbeFinding[] {
  const merged = new Map<ProbeQuestion, ProbeFinding>()
  for (const finding of findings) {
    if (merged.get(finding.question)?.kept !== false) merged.set(finding.question, finding)
  }
  return [...merged.values()]
}

async function oneCreator(bucket: Bucket, key: string): Promise<Answer> {
  return await oneWins(bucket, key, 'creators', (bytes) => bucket.putIfAbsent(key, bytes))
}

async function oneReplacer(bucket: Bucket, key: string): Promise<Answer> {
  const before = await bucket.get(key, { maxBytes: MAX_BYTES })
  if (before === undefined || before === 'unchanged')
    return { kept: false, observed: 'an object that was written is not there' }
  return await oneWins(bucket, key, 'replacers', (bytes) => bucket.putIfMatch(key, bytes, before.tag))
}

async function oneWins(
  bucket: Bucket,
  key: string,
  who: string,
  attempt: (bytes: Uint8Array) => Promise<string | undefined>,
): Promise<Answer> {
  const contents = Array.from({ length: CROWD }, nonce)
  const outcomes = await Promise.allSettled(contents.map((bytes) => attempt(bytes)))
  const winners = contents.filter((_, i) => isWin(outcomes[i]))
  const found = await bucket.get(key, { maxBytes: MAX_BYTES })
  const bytes = found === undefined || found === 'unchanged' ? undefined : found.bytes
  // Where the winner's answer was lost, nobody knows that it won, and what it wrote is there.
  const candidates = winners.length === 0 ? contents : winners
  const isTheirs = candidates.some((content) => bytes !== undefined && equalBytes(content, bytes))
  const says = `of ${CROWD} ${who} at once, ${winners.length} won`
  return {
    kept: winners.length <= 1 && isTheirs,
    observed: isTheirs ? says : `${says}, and what is there is none of theirs`,
  }
}

function isWin(outcome: PromiseSettledResult<string | undefined> | undefined): boolean {
  return outcome?.status === 'fulfilled' && outcome.value !== undefined
}

async function wrongTag(bucket: Bucket, key: string): Promise<Answer> {
  const before = await bucket.get(key, { maxBytes: MAX_BYTES })
  if (before === undefined || before === 'unchanged')
    return { kept: false, observed: 'an object that was written is not there' }
  await bucket.put(key, nonce())
  const tag = await bucket.putIfMatch(key, nonce(), before.tag)
  const kept = tag === undefined
  return { kept, observed: kept ? 'it was refused' : 'a replacement on an outdated condition was taken' }
}

async function readsItsWrites(bucket: Bucket, key: string): Promise<Answer> {
  for (let i = 0; i < 8; i++) {
    const written = nonce()
    await bucket.put(key, written)
    const found = await bucket.get(key, { maxBytes: MAX_BYTES })
    if (found === undefined || found === 'unchanged' || !equalBytes(found.bytes, written))
      return { kept: false, observed: `read ${i + 1} gave what had been there before` }
  }
  return { kept: true, observed: 'eight of eight did' }
}

async function listsItsWrites(bucket: Bucket, key: string): Promise<Answer> {
  await bucket.put(key, nonce())
  const { objects } = await bucket.list(key, undefined)
  const kept = objects.length === 1 && objects[0]?.key === key
  return { kept, observed: kept ? 'it did' : `it listed ${objects.length} objects` }
}

async function forgetsRemoved(bucket: Bucket, key: string): Promise<Answer> {
  await bucket.put(key, nonce())
  await bucket.delete(key)
  const kept = (await bucket.get(key, { maxBytes: MAX_BYTES })) === undefined
  return { kept, observed: kept ? 'it is' : 'it is still read' }
}

async function givesRanges(bucket: Bucket, key: string): Promise<Answer> {
  const bytes = new Uint8Array(randomBytes(100_000))
  await bucket.put(key, bytes)
  const found = await bucket.get(key, { range: { offset: 70_000, length: 777 }, maxBytes: 777 })
  const kept =
    found !== undefined && found !== 'unchanged' && equalBytes(found.bytes, bytes.subarray(70_000, 70_777))
  return { kept, observed: kept ? 'it is' : 'other bytes came' }
}

async function knowsUnchanged(bucket: Bucket, key: string): Promise<Answer> {
  const tag = await bucket.put(key, nonce())
  const found = await bucket.get(key, { maxBytes: MAX_BYTES, unlessTag: tag })
  const kept = found === 'unchanged'
  return { kept, observed: kept ? 'it was not' : 'it was sent again, which costs time and no more' }
}

async function askAboutParts(
  bucket: Bucket,
  ask: (question: ProbeQuestion, answer: (key: string) => Promise<Answer>) => Promise<void>,
  partBytes: number,
): Promise<void> {
  const first = new Uint8Array(partBytes).fill(7)
  const last = nonce()
  const upload = async (key: string) => {
    const uploadId = await bucket.startUpload(key)
    const parts = [
      await bucket.uploadPart(key, uploadId, 1, first),
      await bucket.uploadPart(key, uploadId, 2, last),
    ]
    return { uploadId, parts }
  }
  const end = { range: { offset: partBytes, length: last.length }, maxBytes: last.length }
  await ask('parts become one object', async (key) => {
    const { uploadId, parts } = await upload(key)
    await bucket.completeUpload(key, uploadId, parts)
    const found = await bucket.get(key, end)
    const kept = found !== undefined && found !== 'unchanged' && equalBytes(found.bytes, last)
    return { kept, observed: kept ? 'they do' : 'the object ends otherwise' }
  })
  await ask('parts are not one object before they are completed', async (key) => {
    const { uploadId } = await upload(key)
    const kept = (await bucket.get(key, end)) === undefined
    await bucket.abortUpload(key, uploadId)
    return { kept, observed: kept ? 'they are not' : 'they are read before' }
  })
  await ask('an aborted upload leaves nothing', async (key) => {
    const { uploadId, parts } = await upload(key)
    await bucket.abortUpload(key, uploadId)
    const outcome = await bucket.completeUpload(key, uploadId, parts).catch((error: unknown) => {
      if (!isErrorLike(error)) throw error
      return 'unknown'
    })
    const kept = outcome === 'unknown' && (await bucket.get(key, end)) === undefined
    return { kept, observed: kept ? 'nothing' : 'it could be completed all the same' }
  })
}

async function refusesWrongDigest(bucket: Bucket, key: string): Promise<Answer> {
  const taken = (await bucket.putWithWrongDigest?.(key, nonce())) === true
  const observed = taken ? 'it was taken; what was written is read back and compared all the same' : 'it was'
  return { kept: !taken, observed }
}

function newKey(): string {
  return `${PROBE_PREFIX}${randomBytes(12).toString('hex')}`
}

function nonce(): Uint8Array {
  return new Uint8Array(randomBytes(24))
}
