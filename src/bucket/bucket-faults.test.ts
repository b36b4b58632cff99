import { hostname } from 'node:os'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { killOwner, rootIn, testSettings } from '../../test/support/bucket-fixtures.js'
import { type BucketCall, MemoryBucket } from '../../test/support/memory-bucket.js'
import { isStateError, type StateErrorCode } from '../base/errors.js'
import { CheckpointCoordinator } from '../checkpoint/coordinator/checkpoint-coordinator.js'
import { ReadAhead } from '../checkpoint/format/read-ahead.js'
import { MemoryStateBackend } from '../memory/memory-state-backend.js'
import type { StorageLease } from '../storage/checkpoint-storage.js'
import { ManualClock } from '../testing/manual-clock.js'
import { allObjects, BucketFailure } from './bucket.js'
import { BucketCheckpointStorage } from './bucket-checkpoint-storage.js'
import { fetchesOf } from './bucket-object-reader.js'
import type { BucketSettings } from './bucket-options.js'
import { decodeRoot, encodeRoot, ROOT_KEY } from './root-object.js'

const MIB = 1024 * 1024
const bytes = (...values: number[]) => new Uint8Array(values)

function open(bucket: MemoryBucket, settings: Partial<BucketSettings> = {}): BucketCheckpointStorage {
  return new BucketCheckpointStorage(bucket, testSettings(settings))
}

async function publish(lease: StorageLease, name: string, content: Uint8Array): Promise<void> {
  const writer = await lease.create(name)
  await writer.write(content)
  await writer.commit()
}

async function rejectsWith(code: StateErrorCode, work: Promise<unknown>): Promise<void> {
  await expect(work).rejects.toSatisfy((error) => isStateError(error, code))
}

const lost = () => new BucketFailure('lost', 'the answer was lost')

/** A promise, and what resolves it. */
function gate(): { readonly opened: Promise<void>; readonly open: () => void } {
  let openIt = () => {}
  const opened = new Promise<void>((resolve) => {
    openIt = resolve
  })
  return { opened, open: openIt }
}

/** Stops the next call that fits before it is carried out, until it is let go on. */
function stalling(bucket: MemoryBucket, fits: (call: BucketCall) => boolean) {
  const [arrived, released] = [gate(), gate()]
  let isArmed = true
  bucket.around = async (call, carryOut) => {
    if (isArmed && fits(call)) {
      isArmed = false
      arrived.open()
      await released.opened
    }
    return carryOut()
  }
  return { arrived: arrived.opened, goOn: released.open }
}

describe('a store that is never as it was read', () => {
  it('is a STORAGE_ERROR after a bounded number of attempts, where each condition fails and nobody else has written', async () => {
    const bucket = new MemoryBucket()
    const lease = await open(bucket).acquire()
    let attempts = 0
    bucket.around = async (call, carryOut) => {
      if (call.operation !== 'putIfMatch' || call.key !== ROOT_KEY) return await carryOut()
      attempts++
      return undefined as never
    }
    await rejectsWith('STORAGE_ERROR', publish(lease, 'sequence', bytes(1)))
    expect(attempts).toBeLessThan(1_000)
  })

  it('is a STORAGE_ERROR where a listing is followed by itself', async () => {
    const listing = allObjects({ list: async () => ({ objects: [], next: 'again' }) }, 'data/')
    await expect(listing.next()).rejects.toThrow('followed by itself')
  })
})

describe('a writer that was overtaken', () => {
  for (const [where, fits] of [
    [
      'before its bytes',
      ({ operation, key }: BucketCall) => operation === 'put' && key.startsWith('data/chk'),
    ],
    ['before its name', ({ operation, key }: BucketCall) => operation === 'putIfMatch' && key === ROOT_KEY],
  ] as const) {
    it(`sleeps through two retentions ${where} and brings no deleted checkpoint back`, async () => {
      const bucket = new MemoryBucket()
      const backend = new MemoryStateBackend()
      await backend.put(bytes(1), bytes(1))
      const storage = open(bucket)
      const sleeper = await storage.acquire()
      await publish(sleeper, 'chk-0000000001.base.segment', bytes(1))
      const writer = await sleeper.create('chk-0000000001.manifest')
      await writer.write(bytes(1, 2, 3))
      const stall = stalling(bucket, fits)
      const outcome = writer.commit().catch((error: unknown) => error)
      await stall.arrived
      await killOwner(bucket)
      // Each of these deletes what is older than one checkpoint, number 1 and what is left of it included.
      const coordinator = new CheckpointCoordinator(backend, {
        storage: open(bucket),
        maxCheckpoints: 1,
        graceMs: 0,
      })
      for (let i = 0; i < 3; i++) await coordinator.createCheckpoint()
      const before = (await storage.list()).map(({ name }) => name).sort()
      stall.goOn()
      expect(isStateError(await outcome, 'FENCED')).toBe(true)
      await rejectsWith('FENCED', publish(sleeper, 'chk-0000000001.manifest', bytes(1)))
      expect((await storage.list()).map(({ name }) => name).sort()).toEqual(before)
      expect(before.some((name) => name.startsWith('chk-0000000001'))).toBe(false)
      await coordinator.shutdown()
      await backend.close()
    })
  }

  it('leaves bytes that nobody names, and the new owner discards them', async () => {
    const bucket = new MemoryBucket()
    const storage = open(bucket)
    const sleeper = await storage.acquire()
    const writer = await sleeper.create('a')
    await writer.write(bytes(1))
    const stall = stalling(bucket, ({ operation, key }) => operation === 'put' && key.startsWith('data/a'))
    const outcome = writer.commit().catch((error: unknown) => error)
    await stall.arrived
    const heir = await storage.acquire({ takeOver: true })
    stall.goOn()
    expect(isStateError(await outcome, 'FENCED')).toBe(true)
    await heir.discardUncommitted(0)
    expect([...bucket.objects.keys()]).toEqual([ROOT_KEY])
  })
})

describe('a root whose answer was lost', () => {
  it('is known for the own success, at each write of it', async () => {
    const bucket = new MemoryBucket()
    let losing = true
    bucket.around = async ({ key, operation }, carryOut) => {
      const result = carryOut()
      const isWrite = operation === 'putIfMatch' || operation === 'putIfAbsent'
      // Every second one, so that the attempt after it, which is refused, is answered.
      if (key !== ROOT_KEY || !isWrite) return result
      losing = !losing
      if (!losing) throw lost()
      return result
    }
    const storage = open(bucket)
    const lease = await storage.acquire()
    await publish(lease, 'a', bytes(1))
    await lease.replace('b', bytes(2))
    expect(await lease.remove('a')).toBe(true)
    await lease.check()
    await lease.release()
    expect(await storage.list()).toEqual([{ name: 'b', sizeBytes: 1 }])
    expect((await rootIn(bucket)).released).toBe(true)
  })

  it('is in doubt where no attempt is answered: then the object is there whole, and can be taken back', async () => {
    const bucket = new MemoryBucket()
    const storage = open(bucket)
    const lease = await storage.acquire()
    const writer = await lease.create('a')
    await writer.write(bytes(1, 2, 3))
    bucket.around = async ({ key, operation }, carryOut) => {
      const result = carryOut()
      if (key === ROOT_KEY && operation === 'putIfMatch') throw lost()
      if (key === ROOT_KEY && operation === 'get') throw lost()
      return result
    }
    await rejectsWith('STORAGE_ERROR', writer.commit())
    bucket.around = async (_, carryOut) => carryOut()
    expect(await storage.read('a', 10)).toEqual(bytes(1, 2, 3))
    expect(await lease.remove('a')).toBe(true)
    expect(await storage.list()).toEqual([])
    await writer.abort()
    expect([...bucket.objects.keys()]).toEqual([ROOT_KEY])
  })

  it('leaves the new bytes of what was to be replaced, or the old ones, and never nothing', async () => {
    const [old, next] = [new Uint8Array(5_000).fill(1), new Uint8Array(6_000).fill(2)]
    for (const isCarriedOut of [true, false]) {
      const bucket = new MemoryBucket()
      const storage = open(bucket)
      const lease = await storage.acquire()
      await lease.replace('large', old)
      let left = testSettings().attempts
      bucket.around = async ({ key, operation }, carryOut) => {
        if (key !== ROOT_KEY || operation !== 'putIfMatch' || left === 0) return carryOut()
        left--
        if (isCarriedOut) carryOut()
        throw lost()
      }
      await rejectsWith('STORAGE_ERROR', lease.replace('large', next))
      expect(left).toBe(0)
      expect(await storage.read('large', 10_000)).toEqual(isCarriedOut ? next : old)
      await lease.discardUncommitted(0)
      expect(await storage.read('large', 10_000)).toEqual(isCarriedOut ? next : old)
      expect(bucket.objects.size).toBe(2)
      await lease.replace('large', old)
      expect(await storage.read('large', 10_000)).toEqual(old)
      expect(bucket.objects.size).toBe(2)
      await lease.release()
    }
  })

  it('cannot come true later: what comes after it makes its condition fail', async () => {
    const bucket = new MemoryBucket()
    const storage = open(bucket)
    const lease = await storage.acquire()
    const writer = await lease.create('a')
    await writer.write(bytes(1))
    const late: (() => unknown)[] = []
    bucket.around = async ({ key, operation }, carryOut) => {
      if (key !== ROOT_KEY || operation !== 'putIfMatch') return carryOut()
      late.push(carryOut)
      throw lost()
    }
    await rejectsWith('STORAGE_ERROR', writer.commit())
    bucket.around = async (_, carryOut) => carryOut()
    // What a coordinator does after a checkpoint that failed; the name is not known, and all the same a root is written.
    expect(await lease.remove('a')).toBe(false)
    for (const carryOut of late) carryOut()
    expect(await storage.list()).toEqual([])
    await publish(lease, 'a', bytes(7))
    expect(await storage.read('a', 1)).toEqual(bytes(7))
  })
})

describe('a root that is written by who has the bucket for itself', () => {
  /** Where each condition is as the store has it: kept, ignored, not known, or never met. */
  class ExclusiveBucket extends MemoryBucket {
    readonly conditions: string

    constructor(conditions: string) {
      super()
      this.conditions = conditions
    }

    override async putIfAbsent(key: string, content: Uint8Array): Promise<string | undefined> {
      return await this.#put(key, content, () => super.putIfAbsent(key, content))
    }

    override async putIfMatch(key: string, content: Uint8Array, tag: string): Promise<string | undefined> {
      return await this.#put(key, content, () => super.putIfMatch(key, content, tag))
    }

    async #put(
      key: string,
      content: Uint8Array,
      kept: () => Promise<string | undefined>,
    ): Promise<string | undefined> {
      if (this.conditions === 'ignored') return await this.put(key, content)
      if (this.conditions === 'never met') return undefined
      if (this.conditions === 'unknown') throw new BucketFailure('NotImplemented', 'no such header', 501)
      return await kept()
    }
  }

  it.each(['kept', 'ignored', 'unknown', 'never met'])(
    'names what was published though an attempt that was given up arrives late, where conditions are %s',
    async (conditions) => {
      const bucket = new ExclusiveBucket(conditions)
      const storage = open(bucket, { exclusive: true })
      const lease = await storage.acquire()
      const late: (() => unknown)[] = []
      bucket.around = async ({ key, operation }, carryOut) => {
        if (key !== ROOT_KEY || !operation.startsWith('put') || late.length > 0) return carryOut()
        late.push(carryOut)
        throw lost()
      }
      await publish(lease, 'a', bytes(1))
      await publish(lease, 'b', bytes(2))
      expect(late).toHaveLength(1)
      for (const carryOut of late) carryOut()
      if (conditions === 'kept') expect(await storage.read('b', 1)).toEqual(bytes(2))
      // Where the store does not compare, the next change brings it back.
      await publish(lease, 'c', bytes(3))
      await lease.discardUncommitted(0)
      const names = (await storage.list()).map(({ name }) => name)
      expect(names.sort()).toEqual(['a', 'b', 'c'])
      for (const [i, name] of names.entries()) expect(await storage.read(name, 1)).toEqual(bytes(i + 1))
      await lease.release()
      const next = await storage.acquire()
      expect(await next.remove('b')).toBe(true)
      await next.release()
    },
  )

  it.each(['kept', 'ignored', 'unknown', 'never met'])(
    'names what was published though a root of an earlier lease arrives late, where conditions are %s',
    async (conditions) => {
      const bucket = new ExclusiveBucket(conditions)
      const earlier = await open(bucket, { exclusive: true }).acquire()
      await publish(earlier, 'a', bytes(1))
      const late: (() => unknown)[] = []
      const giveUpRoots = () => {
        bucket.around = async ({ key, operation }, carryOut) => {
          if (key !== ROOT_KEY || !operation.startsWith('put')) return carryOut()
          late.push(carryOut)
          throw lost()
        }
      }
      giveUpRoots()
      await rejectsWith('STORAGE_ERROR', publish(earlier, 'x', bytes(9)))
      await rejectsWith('STORAGE_ERROR', earlier.release())
      // Nor did this process learn of a lease that it would have had.
      const storage = open(bucket, { exclusive: true })
      await rejectsWith('STORAGE_ERROR', storage.acquire())
      bucket.around = async (_, carryOut) => carryOut()
      const lease = await storage.acquire()
      const names = ['a']
      for (const carryOut of late) {
        const name = `b${names.length}`
        await publish(lease, name, bytes(names.length))
        names.push(name)
        carryOut()
        await lease.check()
        await lease.discardUncommitted(0)
      }
      expect(names.length).toBeGreaterThan(3)
      await publish(lease, 'c', bytes(3))
      expect((await storage.list()).map(({ name }) => name).sort()).toEqual([...names, 'c'].sort())
      await lease.release()
    },
  )

  it('is not written over by a lease that came before', async () => {
    const bucket = new ExclusiveBucket('ignored')
    const earlier = await open(bucket, { exclusive: true }).acquire()
    const later = await open(bucket, { exclusive: true }).acquire({ takeOver: true })
    await publish(later, 'a', bytes(1))
    await rejectsWith('FENCED', publish(earlier, 'b', bytes(2)))
    await rejectsWith('FENCED', earlier.check())
    await publish(later, 'c', bytes(3))
    await later.release()
    expect(Array.from((await rootIn(bucket)).objects.keys())).toEqual(['a', 'c'])
  })
})

describe('a lease in a bucket', () => {
  /** As if its owner were on another machine. */
  async function moveOwner(bucket: MemoryBucket): Promise<void> {
    const root = await rootIn(bucket)
    await bucket.put(
      ROOT_KEY,
      encodeRoot({ ...root, owner: { ...root.owner, hostname: `not ${hostname()}` } }),
    )
  }

  it('of an owner elsewhere is taken over once it has been silent for as long as it said, and not before', async () => {
    const bucket = new MemoryBucket()
    const dead = await open(bucket, { leaseMs: 10_000 }).acquire()
    await moveOwner(bucket)
    // Held in this very process, it is known to live: so the one who looks must not be the one who holds.
    const root = await rootIn(bucket)
    await bucket.put(ROOT_KEY, encodeRoot({ ...root, nonce: 'of another process' }))
    let waitedMs = 0
    const wait = async (ms: number) => {
      waitedMs += ms
    }
    const heir = await open(bucket, { wait }).acquire()
    expect(waitedMs).toBe(10_000)
    expect(heir.token).toBe(2)
    await rejectsWith('FENCED', dead.check())
  })

  it('of an owner elsewhere that renews it is not', async () => {
    const bucket = new MemoryBucket()
    await open(bucket, { leaseMs: 10_000 }).acquire()
    const root = await rootIn(bucket)
    const owner = { ...root.owner, hostname: 'elsewhere' }
    await bucket.put(ROOT_KEY, encodeRoot({ ...root, owner, nonce: 'of another process' }))
    let looks = 0
    const wait = async () => {
      const now = await rootIn(bucket)
      if (++looks === 3) await bucket.put(ROOT_KEY, encodeRoot({ ...now, revision: now.revision + 1 }))
    }
    await expect(open(bucket, { wait }).acquire()).rejects.toThrow(/host 'elsewhere'.*takeOver/)
    expect(looks).toBe(3)
  })

  it('is renewed every third of its time, where nothing else was written', async () => {
    const bucket = new MemoryBucket()
    const clock = new ManualClock()
    const lease = await open(bucket, { clock, leaseMs: 9_000 }).acquire()
    const revision = async () => (await rootIn(bucket)).revision
    expect(await revision()).toBe(1)
    await clock.advance(3_000)
    await clock.advance(3_000)
    const renewed = await revision()
    expect(renewed).toBeGreaterThanOrEqual(2)
    await lease.replace('a', bytes(1))
    await clock.advance(3_000)
    expect(await revision()).toBe(renewed + 1)
    await lease.release()
    await clock.advance(30_000)
    expect(clock.pendingTimers).toBe(0)
  })

  it('that could not be let go of, or was not known to be had, is had again by this process', async () => {
    const bucket = new MemoryBucket()
    const storage = open(bucket)
    const refuseRoot: MemoryBucket['around'] = async ({ key, operation }, carryOut) => {
      const result = key === ROOT_KEY && operation === 'put' ? undefined : carryOut()
      if (key === ROOT_KEY && operation !== 'get') throw lost()
      return result as never
    }
    bucket.around = refuseRoot
    await rejectsWith('STORAGE_ERROR', storage.acquire())
    bucket.around = async (_, carryOut) => carryOut()
    const lease = await storage.acquire()
    bucket.around = async ({ key, operation }, carryOut) => {
      if (key === ROOT_KEY && operation === 'putIfMatch') throw lost()
      return carryOut()
    }
    await rejectsWith('STORAGE_ERROR', lease.release())
    bucket.around = async (_, carryOut) => carryOut()
    const again = await storage.acquire()
    expect(again.token).toBeGreaterThan(lease.token)
    await again.release()
  })
})

describe('the root object', () => {
  it('that is missing beside objects is CORRUPTION, never an empty storage', async () => {
    const bucket = new MemoryBucket()
    const storage = open(bucket)
    const lease = await storage.acquire()
    await publish(lease, 'a', bytes(1))
    await lease.release()
    bucket.objects.delete(ROOT_KEY)
    const anew = open(bucket)
    await rejectsWith('CORRUPTION', anew.list())
    await rejectsWith('CORRUPTION', anew.open('a'))
    await rejectsWith('CORRUPTION', anew.acquire())
    expect(bucket.objects.has(ROOT_KEY)).toBe(false)
  })

  it('is CORRUPTION with any byte changed and at any length, and INCOMPATIBLE in a newer version', async () => {
    const bucket = new MemoryBucket()
    await (await open(bucket).acquire()).release()
    const whole = encodeRoot(await rootIn(bucket))
    const codeOf = (damaged: Uint8Array) => {
      try {
        decodeRoot(damaged, 'the root')
        return undefined
      } catch (error) {
        return isStateError(error) ? error.code : String(error)
      }
    }
    for (let i = 0; i < whole.length; i++) {
      const flipped = new Uint8Array(whole)
      flipped[i] = (flipped[i] as number) ^ 1
      expect(codeOf(flipped), `byte ${i}`).toBe('CORRUPTION')
      expect(codeOf(whole.subarray(0, i)), `length ${i}`).toBe('CORRUPTION')
    }
    expect(codeOf(whole)).toBe(undefined)
  })

  it('names bytes that are gone: CORRUPTION, and the names of others are read', async () => {
    const bucket = new MemoryBucket()
    const storage = open(bucket)
    const lease = await storage.acquire()
    await publish(lease, 'a', bytes(1))
    await publish(lease, 'b', bytes(2))
    const key = [...bucket.objects.keys()].find((each) => each.startsWith('data/a')) as string
    bucket.objects.delete(key)
    await rejectsWith('CORRUPTION', storage.read('a', 1))
    const reader = await storage.open('a')
    await rejectsWith('CORRUPTION', reader?.read(0, 1) ?? Promise.resolve())
    expect(await storage.read('b', 1)).toEqual(bytes(2))
    await lease.release()
  })
})

describe('bytes on their way', () => {
  it('are held in bounded memory, some parts in flight, whatever the size', async () => {
    const bucket = new MemoryBucket()
    const lease = await open(bucket, { partBytes: 1_000, partsInFlight: 3 }).acquire()
    let inFlight = 0
    let most = 0
    bucket.around = async ({ operation }, carryOut) => {
      if (operation !== 'uploadPart') return carryOut()
      most = Math.max(most, ++inFlight)
      await new Promise((resolve) => setImmediate(resolve))
      inFlight--
      return carryOut()
    }
    const writer = await lease.create('a')
    for (let i = 0; i < 200; i++) await writer.write(new Uint8Array(333).fill(i))
    await writer.commit()
    expect(most).toBe(3)
    const parts = bucket.calls.filter(({ operation }) => operation === 'uploadPart').map((call) => call.bytes)
    expect(parts).toEqual([...Array.from({ length: 66 }, () => 1_000), 600])
    await lease.release()
  })

  it('that fail end the writer, and nothing is left of them', async () => {
    const bucket = new MemoryBucket()
    const lease = await open(bucket, { partBytes: 1_000, partsInFlight: 2 }).acquire()
    bucket.around = async ({ operation }, carryOut) => {
      if (operation === 'uploadPart') throw new BucketFailure('AccessDenied', 'no', 403)
      return carryOut()
    }
    const writer = await lease.create('a')
    const writing = async () => {
      for (let i = 0; i < 9; i++) await writer.write(new Uint8Array(900))
    }
    await rejectsWith('STORAGE_ERROR', writing())
    await rejectsWith('STORAGE_ERROR', writer.commit())
    expect(bucket.uploads.size).toBe(0)
    expect([...bucket.objects.keys()]).toEqual([ROOT_KEY])
    await lease.release()
  })

  it('are fetched ahead where an object is read in order, and as asked otherwise', async () => {
    const bucket = new MemoryBucket()
    const storage = open(bucket, { fetchBytes: 100, fetchesInFlight: 4 })
    const lease = await storage.acquire()
    const content = new Uint8Array(2_345).map((_, i) => i * 7)
    await publish(lease, 'a', content)
    await lease.release()
    const reader = await storage.open('a', { access: 'sequential' })
    if (reader === undefined) throw new Error('it is there')
    let inFlight = 0
    let mostInFlight = 0
    bucket.around = async (_, carryOut) => {
      mostInFlight = Math.max(mostInFlight, ++inFlight)
      await nextTurn()
      inFlight--
      return carryOut()
    }
    bucket.calls.length = 0
    const source = new ReadAhead(reader, 0, content.length)
    const read: number[] = []
    // In lengths that fit no request, some of them longer than one.
    for (let at = 0; at < content.length; at = read.length)
      read.push(...(await source.take(Math.min(at % 3 === 0 ? 37 : 264, content.length - at))))
    expect(new Uint8Array(read)).toEqual(content)
    expect(bucket.calls).toHaveLength(24)
    expect(mostInFlight).toBe(4)
    expect(await reader.read(10, 5)).toEqual(content.slice(10, 15))
    await rejectsWith('CORRUPTION', reader.read(2_340, 6))
    await reader.close()
    await rejectsWith('CLOSED', reader.read(0, 1))
  })

  it.each([
    { share: 1, pieceBytes: 4 * MIB, pieces: 8 },
    { share: 1 / 4, pieceBytes: 2 * MIB, pieces: 4 },
    { share: 1 / 32, pieceBytes: MIB / 4, pieces: 4 },
    { share: 1 / 1_000, pieceBytes: MIB / 4, pieces: 1 },
  ])(
    'of one that is $share of what is read side by side are as many bytes less',
    ({ share, ...expected }) => {
      expect(fetchesOf({ fetchBytes: 4 * MIB, fetchesInFlight: 8 }, share)).toEqual(expected)
    },
  )
})
