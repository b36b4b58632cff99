import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, describe, expect, it } from 'vitest'
import { runJob } from '../../job.js'
import { MemoryStateBackend } from '../../memory/memory-state-backend.js'
import { defineState, uint32, utf8, value } from '../../state.js'
import { MemoryCheckpointStorage } from '../../storage/memory-checkpoint-storage.js'
import { ManualClock } from '../../testing/manual-clock.js'
import { type HttpIngest, httpIngest } from './http-ingest.js'

const request = { maxEvents: 9, waitMs: 0, paused: new Set<string>() }
const post = (body: string, headers: Record<string, string> = {}) =>
  new Request('http://host/', { method: 'POST', body, headers }) as Parameters<
    HttpIngest<unknown>['handle']
  >[0]

describe('events by HTTP', () => {
  it('are answered for once a checkpoint has them, and not before', async () => {
    const { source, handle } = httpIngest<number>()
    const reader = await source.open({ positions: { http: 5 } })
    const answers: string[] = []
    const ask = async (name: string, body: string) => {
      const { status } = await handle(post(body))
      answers.push(`${name} ${status}`)
    }
    const one = ask('one', '[1,2]')
    expect(await reader.poll({ ...request, waitMs: 60_000 })).toMatchObject([{ events: [1, 2] }])
    const two = ask('two', '3')
    expect(await reader.poll({ ...request, waitMs: 60_000 })).toMatchObject([{ events: [3] }])
    await reader.checkpointCompleted?.({ http: 6 })
    expect(answers).toEqual([])
    await reader.checkpointCompleted?.({ http: 7 })
    await one
    expect(answers).toEqual(['one 200'])
    await reader.checkpointCompleted?.({ http: 8 })
    await two
    await reader.close()
  })

  it('have the positions behind them, and come as values, arrays and lines', async () => {
    const { source, handle } = httpIngest<unknown>({ acknowledge: 'received' })
    const reader = await source.open({ positions: {} })
    expect((await handle(post('{"a":1}'))).status).toBe(202)
    expect(await (await handle(post('[1,2]'))).json()).toEqual({ accepted: 2 })
    await handle(post('3\n\n4\n', { 'content-type': 'application/x-ndjson; charset=utf-8' }))
    const [first] = await reader.poll({ ...request, maxEvents: 2 })
    const [second] = await reader.poll(request)
    expect([first?.events, first?.positionAfter(1)]).toEqual([[{ a: 1 }, 1], 2])
    expect([second?.events, second?.positionAfter(2)]).toEqual([[2, 3, 4], 5])
    await reader.close()
  })

  it('wake a job that waits', async () => {
    const { source, handle } = httpIngest<unknown>({ acknowledge: 'received' })
    const reader = await source.open({ positions: {} })
    const polling = reader.poll({ ...request, waitMs: 60_000 })
    await handle(post('1'))
    expect(await polling).toMatchObject([{ events: [1] }])
    await reader.close()
  })

  it('are sent away with 503 and Retry-After while no job runs, and while too many wait', async () => {
    const { source, handle } = httpIngest<unknown>({
      acknowledge: 'received',
      maxWaitingEvents: 2,
      retryAfterSeconds: 7,
    })
    const closed = await handle(post('1'))
    expect([closed.status, closed.headers.get('retry-after')]).toEqual([503, '7'])
    const reader = await source.open({ positions: {} })
    const statuses: number[] = []
    for (const body of ['[1,2,3]', '4']) statuses.push((await handle(post(body))).status)
    await reader.poll({ ...request, maxEvents: 2 })
    for (const body of ['[5,6]', '5', '6']) statuses.push((await handle(post(body))).status)
    expect(statuses).toEqual([202, 503, 503, 202, 503])
    await reader.close()
    expect((await handle(post('1'))).status).toBe(503)
  })

  it('that are not in a checkpoint in time, or when the job ends, are answered with 503', async () => {
    const clock = new ManualClock(0)
    const { source, handle } = httpIngest<unknown>({ clock, answerWithinMs: 1_000 })
    const reader = await source.open({ positions: {} })
    const late = handle(post('1'))
    await expect.poll(() => clock.nextTimerInMs).toBe(1_000)
    clock.advance(1_000)
    expect((await late).status).toBe(503)
    const ended = handle(post('2'))
    await expect.poll(() => clock.nextTimerInMs).toBe(1_000)
    await reader.close()
    const { status, headers } = await ended
    expect([status, headers.get('retry-after')]).toEqual([503, '1'])
    expect(clock.nextTimerInMs).toBeUndefined()
  })

  it('that are wrong are refused, and none of their request counts', async () => {
    const decode = (given: unknown) => {
      if (given === 2) throw new Error('no twos')
      return given
    }
    const { source, handle } = httpIngest<unknown>({ decode, maxBodyBytes: 10, acknowledge: 'received' })
    const reader = await source.open({ positions: {} })
    const answers: unknown[] = []
    for (const body of ['[1,2]', '{', '"12345678901"']) {
      const response = await handle(post(body))
      answers.push([response.status, ((await response.json()) as { error: string }).error])
    }
    expect(answers).toEqual([
      [400, 'no twos'],
      [400, expect.stringContaining('JSON')],
      [413, 'the body is longer than 10 bytes'],
    ])
    const get = new Request('http://host/') as Parameters<typeof handle>[0]
    expect((await handle(get)).status).toBe(405)
    expect(await reader.poll(request)).toMatchObject([{ events: [] }])
    await reader.close()
  })

  it('belong to one job, and go on counting where its cut was', async () => {
    const { source } = httpIngest<unknown>()
    const reader = await source.open({ positions: {} })
    await expect(source.open({ positions: {} })).rejects.toMatchObject({ code: 'FENCED' })
    await reader.close()
    await reader.close()
    for (const position of [-1, '3', null, 1.5])
      await expect(source.open({ positions: { http: position } })).rejects.toMatchObject({
        code: 'RESTORE_FAILED',
      })
    expect(() => httpIngest({ acknowledge: 'x', maxBodyBytes: 0, extra: 1 } as never)).toThrow(
      /acknowledge.*maxBodyBytes.*extra/s,
    )
  })
})

describe('a job behind a server', () => {
  let stop: () => Promise<unknown> = async () => {}
  const server = createServer()
  afterEach(async () => {
    await stop()
    server.close()
  })

  it('has in its checkpoint whatever was answered with 200', async () => {
    const ingest = httpIngest<{ user: string }>()
    const storage = new MemoryCheckpointStorage()
    const start = async () => {
      const job = await runJob({
        name: 'counts',
        source: ingest.source,
        key: ({ user }) => user,
        schema: defineState({ key: utf8, states: { count: value(uint32, { default: () => 0 }) } }),
        process: (_, { state }) => void state.count.update((count) => count + 1),
        backend: new MemoryStateBackend(),
        checkpoints: { storage, intervalMs: 5 },
      })
      stop = () => job.stop()
      return job
    }
    await start()
    server.on('request', (incoming, response) => void ingest.listener(incoming, response))
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as AddressInfo
    const send = (user: string) =>
      fetch(`http://127.0.0.1:${port}/`, { method: 'POST', body: JSON.stringify({ user }) })
    const statuses = await Promise.all(['a', 'b', 'a'].map(async (user) => (await send(user)).status))
    expect(statuses).toEqual([200, 200, 200])
    await stop()
    const again = await start()
    expect(['a', 'b'].map((user) => again.store.count.get(user))).toEqual([2, 1])
  })
})
