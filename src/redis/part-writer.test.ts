import { describe, expect, it } from 'vitest'
import { StateError } from '../base/errors.js'
import { seededRandom } from '../base/random.js'
import { nextTurn } from '../base/slices.js'
import { Outage } from '../remote/outage.js'
import { ManualClock } from '../testing/manual-clock.js'
import { REMEMBERED_ANSWERS } from './layout.js'
import { NearCache } from './near-cache.js'
import { PartWriter } from './part-writer.js'

/** As the script does it: a number is applied once, in its turn, and answered again while it is remembered. */
class Server {
  last = 0
  readonly applied: string[] = []
  readonly answers = new Map<number, string>()

  take(number: number, text: string, skips: boolean): string {
    const known = this.answers.get(number)
    if (number <= this.last) return known ?? 'LATE'
    if (number > this.last + 1) return `AHEAD ${this.last}`
    this.last = number
    if (!skips) this.applied.push(text)
    this.answers.set(number, skips ? 'SKIPPED' : `OK ${text}`)
    this.answers.delete(number - REMEMBERED_ANSWERS)
    return this.answers.get(number) ?? ''
  }
}

type Fate = 'answered' | 'lost before' | 'lost after' | 'refused'

function writerOf(server: Server, fate: (number: number) => Fate) {
  const clock = new ManualClock(0)
  const pauses: number[] = []
  const pause = async (ms: number) => {
    pauses.push(ms)
    await nextTurn()
  }
  const passes = ({ message }: Error) => message === 'connection lost'
  const outage = new Outage({ storage: 'a server', passes, clock, pause })
  const refusal = async () => new StateError('BACKEND_FULL', { used: 1, capacity: 1 })
  const writer = new PartWriter({ place: 'a store', outage, passes, refusal })
  const write = (text: string) =>
    writer.write({
      bytes: 1,
      send: async (number, skips) => {
        const what = fate(number)
        await nextTurn()
        if (what === 'lost before') throw new Error('connection lost')
        if (what === 'refused' && !skips) throw new Error('OOM command not allowed')
        const answer = server.take(number, text, skips)
        await nextTurn()
        if (what === 'lost after') throw new Error('connection lost')
        return answer
      },
    })
  return { writer, write, pauses }
}

describe('batches of a part', () => {
  it('are applied once and in order, whatever is lost on the way', async () => {
    for (let seed = 1; seed <= 3; seed++) {
      const random = seededRandom(seed)
      const server = new Server()
      const fates: Fate[] = ['lost before', 'lost after', 'refused', ...Array(9).fill('answered')]
      const { write } = writerOf(server, () => fates[Math.floor(random() * fates.length)] ?? 'answered')
      const results = await Promise.allSettled(Array.from({ length: 80 }, (_, i) => write(`${i}`)))
      const acknowledged = results.flatMap(({ status }, i) => (status === 'fulfilled' ? [`${i}`] : []))
      expect(server.applied).toEqual(acknowledged)
      expect(acknowledged.length).toBeGreaterThan(10)
      const refused = results.filter((result) => result.status === 'rejected')
      for (const { reason } of refused as PromiseRejectedResult[])
        expect(reason).toMatchObject({ code: 'BACKEND_FULL' })
    }
  })

  it('are not told as refused where an attempt that was given up has arrived', async () => {
    const server = new Server()
    const fates: Fate[] = ['lost after', 'refused', 'answered']
    const { write } = writerOf(server, () => fates.shift() ?? 'answered')
    expect(await write('a')).toBe('OK a')
    expect(server.applied).toEqual(['a'])
  })

  it('end with STORAGE_ERROR where the server has gone back behind what it has acknowledged, and go on no more', async () => {
    const server = new Server()
    const { write } = writerOf(server, () => 'answered')
    await write('a')
    await write('b')
    server.last = 1
    await expect(write('c')).rejects.toMatchObject({
      code: 'STORAGE_ERROR',
      message: expect.stringContaining('lost writes that it had acknowledged'),
    })
    await expect(write('d')).rejects.toMatchObject({ code: 'STORAGE_ERROR' })
    expect(server.applied).toEqual(['a', 'b'])
  })

  it('are answered again however long one has no answer while others have', async () => {
    const server = new Server()
    let losses = 5
    const { write } = writerOf(server, (number) => (number === 1 && losses-- > 0 ? 'lost after' : 'answered'))
    const texts = Array.from({ length: 5 * REMEMBERED_ANSWERS }, (_, i) => `${i}`)
    expect(await Promise.all(texts.map(write))).toEqual(texts.map((text) => `OK ${text}`))
    expect(server.applied).toEqual(texts)
  })

  it('are all FENCED once another owner has come', async () => {
    const server = new Server()
    server.take = () => 'FENCED 7'
    const { write, writer } = writerOf(server, () => 'answered')
    const both = await Promise.allSettled([write('a'), write('b')])
    for (const result of both)
      expect(result).toMatchObject({ reason: { code: 'FENCED', details: { resource: 'a store' } } })
    await writer.idle()
  })
})

describe('a near cache', () => {
  const key = Buffer.from('key')

  it('holds no more than it may, the latest used', () => {
    const cache = new NearCache(1_000)
    for (let i = 0; i < 100; i++) {
      cache.set(Buffer.from(`key ${i}`), Buffer.from('value'))
      cache.get(Buffer.from('key 0'))
    }
    expect(cache.bytes).toBeLessThanOrEqual(1_000)
    expect(cache.get(Buffer.from('key 0'))?.stored).toEqual(Buffer.from('value'))
    expect(cache.get(Buffer.from('key 99'))?.stored).toEqual(Buffer.from('value'))
    expect(cache.get(Buffer.from('key 50'))).toBeUndefined()
    cache.set(key, Buffer.alloc(2_000))
    expect(cache.get(key)).toBeUndefined()
  })

  it('takes in nothing that was read while a write was under way', () => {
    const cache = new NearCache(1_000)
    const before = cache.readMark
    cache.writeBegins()
    cache.fill(cache.readMark, key, Buffer.from('old'))
    cache.set(key, Buffer.from('new'))
    cache.writeEnds()
    cache.fill(before, key, Buffer.from('old'))
    expect(cache.get(key)?.stored).toEqual(Buffer.from('new'))
    cache.fill(cache.readMark, Buffer.from('other'), undefined)
    expect(cache.get(Buffer.from('other'))).toEqual({ stored: undefined, bytes: expect.any(Number) })
  })
})
