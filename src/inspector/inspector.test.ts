import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  CheckpointCoordinator,
  FileCheckpointStorage,
  MemoryCheckpointStorage,
  MemoryStateBackend,
  StateError,
} from '../index.js'
import { type RunningInspector, serveInspector } from '../inspector.js'
import { LmdbStateBackend } from '../lmdb.js'
import { defineState, json, map, StateStore, uint32, utf8, value } from '../state.js'
import { FaultyCheckpointStorage } from '../testing/faulty-storage.js'
import { ManualClock } from '../testing/manual-clock.js'

const directory = mkdtempSync(join(tmpdir(), 'holdfast-inspector-'))
const storage = new MemoryCheckpointStorage()
const plainStorage = new MemoryCheckpointStorage()
const backend = new MemoryStateBackend()
const plain = new MemoryStateBackend()
const job = {
  stats: () => ({
    events: 7,
    badEvents: 0,
    firedTimers: 0,
    outputs: 3,
    lateEvents: 0,
    missedWindows: 0,
    watermarkMs: -Infinity,
    behindMs: Number.NaN,
    waitingTimers: 3,
    timers: {
      event: { waiting: 2, due: 1, nextMs: 50 },
      processing: { waiting: 0, due: 0, nextMs: Infinity },
    },
    openWindows: 4,
    windows: { perMinute: { open: 4, nextMs: 60_000 }, whole: { open: 0, nextMs: Infinity } },
    cuts: 1,
    sinceCutMs: 5,
    positions: { '0': { offset: 7 } },
    partitions: { '0': { highestMs: -Infinity, watermarkMs: -Infinity, isIdle: false, hasEnded: false } },
    stages: {
      totals: {
        events: 2,
        badEvents: 0,
        timers: {
          event: { waiting: 0, due: 0, nextMs: Infinity },
          processing: { waiting: 1, due: 0, nextMs: 90 },
        },
      },
    },
  }),
  health: () => ({
    state: 'running' as const,
    isReady: true,
    isHealthy: true,
    stalled: undefined,
    failedCuts: undefined,
    error: undefined,
  }),
}
let inspector: RunningInspector
let coordinator: CheckpointCoordinator

beforeAll(async () => {
  const store = await StateStore.open(
    backend,
    defineState({ key: utf8, states: { total: value(uint32), seen: map(utf8, uint32) } }),
  )
  coordinator = new CheckpointCoordinator(backend, { storage })
  for (let i = 0; i < 300; i++) store.total.put(`user${i}`, i)
  await coordinator.createCheckpoint()
  store.total.put('user7', 777)
  store.total.delete('user8')
  store.seen.put('user9', 'once', 1)
  await coordinator.createCheckpoint()
  const ofPlain = new CheckpointCoordinator(plain, { storage: plainStorage })
  plain.putSync(Buffer.from('evil:\u202e\u001b[31m'), Buffer.from('<script>'))
  plain.putSync(Buffer.from('large:'), Buffer.alloc(2_000_000, 'x'), { ttlMs: 1e9 })
  await ofPlain.createCheckpoint()
  await ofPlain.shutdown()
  const lmdb = await LmdbStateBackend.open({ path: join(directory, 'store') })
  for (let i = 0; i < 10; i++) lmdb.putSync(Buffer.from(`k${i}`), Buffer.from(`v${i}`))
  await lmdb.close()
  inspector = await serveInspector({
    jobs: { usage: job },
    coordinators: { usage: coordinator },
    backends: { usage: backend },
    checkpoints: { typed: storage, plain: plainStorage },
    paths: [join(directory, 'store')],
  })
})
afterAll(async () => {
  await inspector.close()
  await coordinator.shutdown()
  await backend.close()
  await plain.close()
  rmSync(directory, { recursive: true, force: true })
})

interface Got {
  readonly status: number
  readonly headers: { readonly [name: string]: string | string[] | undefined }
  readonly body: string
}

/** A request as any program can make it. */
function got(
  path: string,
  options: { method?: string; headers?: { [name: string]: string } } = {},
): Promise<Got> {
  return new Promise((resolve, reject) => {
    const asked = request(
      { host: '127.0.0.1', port: inspector.port, path, agent: false, ...options },
      (answer) => {
        let body = ''
        answer.setEncoding('utf8').on('data', (piece: string) => {
          body += piece
        })
        answer.on('end', () => resolve({ status: answer.statusCode ?? 0, headers: answer.headers, body }))
      },
    )
    asked.on('error', reject)
    asked.end()
  })
}

/** What is answered, by the names that the answers have. */
interface Answer {
  readonly status: number
  readonly checkpoints?: unknown
  readonly entries?: unknown
  readonly next?: unknown
  readonly differences?: unknown
  readonly keys?: unknown
}

const base = () => new URL(inspector.url).pathname
const api = async (path: string): Promise<Answer> => {
  const { status, body } = await got(`${base()}api/${path}`)
  return { status, ...(JSON.parse(body) as { readonly [name: string]: unknown }) }
}

describe('the inspector answers nobody', () => {
  it('who does not know the secret, or only a part of it', async () => {
    const token = base().slice(1, -1)
    const wrong = ['/', '/page.js', '/api/places', `/${token.slice(0, -1)}/`, `/${token}x/`, `/${token}`]
    for (const path of wrong)
      expect(await got(path), path).toMatchObject({ status: 404, body: 'there is nothing here' })
  })

  it('who was told that some other name is this machine', async () => {
    const host = `attacker.example:${inspector.port}`
    expect((await got(base(), { headers: { host } })).status).toBe(403)
    expect((await got(base(), { headers: { host: '127.0.0.1' } })).status).toBe(403)
    expect(
      (await got(`${base()}api/places`, { headers: { host: `localhost:${inspector.port}` } })).status,
    ).toBe(200)
  })

  it('from a page of another site, and says nothing that would let one read', async () => {
    const headers = { 'sec-fetch-site': 'cross-site', origin: 'https://attacker.example' }
    const refused = await got(`${base()}api/places`, { headers })
    expect(refused.status).toBe(403)
    const given = await got(`${base()}api/places`, { headers: { origin: 'https://attacker.example' } })
    expect(Object.keys(given.headers).filter((name) => name.startsWith('access-control'))).toEqual([])
  })

  it('who wants more than to read', async () => {
    for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS', 'PATCH'])
      expect((await got(`${base()}api/places`, { method })).status, method).toBe(405)
    const withBody = await got(`${base()}api/places`, { headers: { 'content-length': '9' } })
    expect(withBody.status).toBe(413)
  })

  it('for files that are none of the page', async () => {
    for (const path of [
      '../index.js',
      '..%2f..%2fpackage.json',
      'constructor',
      'page.js/',
      'api/constructor',
      '//a:b',
      '//[',
    ])
      expect((await got(`${base()}${path}`)).status, path).toBe(404)
  })

  it('with more than 16 KiB of headers', async () => {
    const statusOf = (bytes: number) =>
      new Promise<string>((resolve) => {
        const socket = connect(inspector.port, '127.0.0.1', () => {
          const host = `127.0.0.1:${inspector.port}`
          socket.write(`GET / HTTP/1.1\r\nHost: ${host}\r\nX-Long: ${'a'.repeat(bytes)}\r\n\r\n`)
        })
        socket.on('data', (piece) => {
          resolve(piece.toString().slice(9, 12))
          socket.destroy()
        })
        socket.on('error', () => resolve('an error'))
        socket.on('close', () => resolve('closed'))
      })
    expect(await statusOf(15 * 1024)).toBe('404')
    expect(await statusOf(17 * 1024)).toBe('431')
  })
})

describe('the inspector', () => {
  it('sends its page with a policy that allows nothing from elsewhere, and nothing inline', async () => {
    const page = await got(base())
    expect(page.status).toBe(200)
    expect(page.headers['content-security-policy']).toContain("default-src 'none'")
    expect(page.headers['content-security-policy']).not.toContain('unsafe')
    expect(page.headers['referrer-policy']).toBe('no-referrer')
    expect(page.body).not.toMatch(/https?:|<script(?![^>]*src=)|style=/)
    expect((await got(`${base()}page.js`)).headers['content-type']).toContain('javascript')
    expect((await got(`${base()}licences.txt`)).body).toContain('MIT')
    expect(await got(base(), { method: 'HEAD' })).toMatchObject({ status: 200, body: '' })
  })

  it('lists what there is, and what each checkpoint says of itself', async () => {
    expect(await api('places')).toMatchObject({
      isLive: true,
      places: [{ kind: 'checkpoints', name: 'typed' }, { name: 'plain' }, { kind: 'store' }],
    })
    expect((await api('checkpoints?place=0')).checkpoints).toHaveLength(2)
    expect(await api('about?place=0')).toMatchObject({
      id: 'chk-0000000002',
      schema: { states: [{ name: 'total' }, { name: 'seen' }] },
      segments: [{ role: 'base' }, { role: 'delta' }],
    })
    expect(await api('about?place=2')).toMatchObject({ label: 'store', entryCount: 10, schema: null })
    expect((await api('checkpoints?place=2')).status).toBe(400)
    expect((await api('entries?place=0&id=99')).status).toBe(400)
    expect((await api('hot?place=0&id=99')).status).toBe(400)
    expect((await got(`${base()}api/entries?place=9`)).status).toBe(404)
  })

  it('gives entries page by page, typed, of a state, and those that have a text', async () => {
    const first = await api('entries?place=0&state=total')
    expect(first.entries).toHaveLength(200)
    const second = await api(`entries?place=0&state=total&after=${String(first.next)}`)
    expect(second).toMatchObject({ next: null })
    const keys = [first, second].flatMap((page) => (page.entries as { key: string }[]).map(({ key }) => key))
    expect(new Set(keys).size).toBe(299)
    expect(await api('entries?place=0&text=USER77')).toMatchObject({
      next: null,
      entries: [{ state: 'total', key: 'user77', value: 77 }],
    })
    expect((await api('entries?place=0&state=none')).status).toBe(400)
    expect((await api('entries?place=0&after=zz')).status).toBe(400)
  })

  it('pages through a store from where a key is, and reads one entry of it', async () => {
    const page = await api('entries?place=2&from=k3&to=k5')
    expect(page).toMatchObject({ tellsExpiry: false, entries: [{ key: 'k3', value: 'v3' }, { key: 'k4' }] })
    expect(await api('entry?place=2&key=0x6b33')).toMatchObject({ entry: { key: 'k3', value: 'v3' } })
    expect(await api('entry?place=2&key=0x6b')).toMatchObject({ entry: null })
  })

  it('shows a large value by its beginning, and when it expires', async () => {
    const page = await got(`${base()}api/entries?place=1&prefix=large`)
    expect(page.body.length).toBeLessThan(3_000)
    expect(JSON.parse(page.body)).toMatchObject({
      entries: [{ key: 'large:', isCut: true, bytes: 2_000_006, expiresAt: expect.stringMatching(/^20/) }],
    })
  })

  it('compares two checkpoints: all is counted by state', async () => {
    expect(await api('diff?place=0&a=1&b=2')).toMatchObject({
      isWhole: true,
      counts: expect.arrayContaining([
        { state: 'total', added: 0, removed: 1, changed: 1 },
        { state: 'seen', added: 1, removed: 0, changed: 0 },
      ]),
    })
    expect((await api('diff?place=0&a=1&b=2&state=seen')).differences).toMatchObject([
      { kind: 'added', key: 'user9', mapKey: 'once', before: null, after: { value: 1 } },
    ])
  })

  it('says what is large, how it is spread, and what changes all the time', async () => {
    expect(await api('survey?place=0')).toMatchObject({
      isWhole: true,
      entries: 301,
      parts: expect.arrayContaining([expect.objectContaining({ name: 'total', entries: 299 })]),
      spread: { count: 128 },
    })
    expect((await api('hot?place=0')).keys).toHaveLength(3)
  })

  it('tells how jobs, coordinators and backends are doing, in JSON that has no infinity', async () => {
    expect(await api('live')).toMatchObject({
      jobs: {
        usage: {
          events: 7,
          watermarkMs: null,
          behindMs: null,
          openWindows: 4,
          windows: { perMinute: { open: 4, nextMs: 60_000 }, whole: { open: 0, nextMs: null } },
          timers: {
            event: { waiting: 2, due: 1, nextMs: 50 },
            processing: { waiting: 0, due: 0, nextMs: null },
          },
          stages: { totals: { events: 2, timers: { processing: { waiting: 1, due: 0, nextMs: 90 } } } },
          partitions: { '0': { position: { offset: 7 } } },
        },
      },
      coordinators: { usage: { created: 2, running: false, events: [] } },
      backends: { usage: { entries: expect.any(Number) } },
    })
  })
})

/** The same with some other methods. */
const changed = <Target extends object>(target: Target, methods: Partial<Target>): Target =>
  new Proxy(target, {
    get: (_, name) => {
      const found: unknown = Reflect.get(methods, name) ?? Reflect.get(target, name)
      return typeof found === 'function' && !(name in methods) ? found.bind(target) : found
    },
  })

const answered = async (of: RunningInspector, path: string): Promise<Answer> => {
  const response = await fetch(`${of.url}api/${path}`)
  return { status: response.status, ...((await response.json()) as { readonly [name: string]: unknown }) }
}

/** Is waited for until it is opened. */
function gate(): { readonly opened: Promise<void>; open(): void } {
  let open = () => {}
  const opened = new Promise<void>((resolve) => {
    open = resolve
  })
  return { opened, open: () => open() }
}

describe('a place that is inspected', () => {
  it('answers 503 where a storage does not answer, also who waits for a turn, and the next one when it does again', async () => {
    const clock = new ManualClock()
    const held = gate()
    const hanging = changed(storage, {
      list: async () => {
        await held.opened
        return await storage.list()
      },
    })
    await using own = await serveInspector({ checkpoints: { hanging } }, { clock })
    const asked = ['checkpoints', 'entries', 'checkpoints'].map((each) => answered(own, `${each}?place=0`))
    await expect.poll(() => clock.pendingTimers).toBe(3)
    clock.advance(30_000)
    expect((await Promise.all(asked)).map(({ status }) => status)).toEqual([503, 503, 503])
    held.open()
    expect(await answered(own, 'checkpoints?place=0')).toMatchObject({ status: 200 })
  })

  it('is searched for texts as they are shown, beyond the beginning of a long value', async () => {
    const texts = new MemoryCheckpointStorage()
    const bytes = new MemoryStateBackend()
    const made = new CheckpointCoordinator(bytes, { storage: texts })
    bytes.putSync(Buffer.from('short'), Buffer.from('{"user":"ada"}'))
    bytes.putSync(Buffer.from('long'), Buffer.from(`${'x'.repeat(5_000)}{"user":"Ada"}`))
    bytes.putSync(Buffer.from('other'), Buffer.from('{"user":"bob"}'))
    await made.createCheckpoint()
    await made.shutdown()
    await using own = await serveInspector({ checkpoints: { texts } })
    expect(await answered(own, `entries?place=0&text=${encodeURIComponent('"user":"ada"')}`)).toMatchObject({
      entries: [{ key: 'long', isCut: true }, { key: 'short' }],
    })
  })

  it('says of a checkpoint whose files are damaged what its manifest says, and what to do', async () => {
    const path = join(directory, 'damaged')
    const states = new MemoryStateBackend()
    await StateStore.open(states, defineState({ key: utf8, states: { total: value(uint32) } }))
    const made = new CheckpointCoordinator(states, {
      storage: new FileCheckpointStorage(path),
      source: () => ({ offset: 7 }),
    })
    await made.createCheckpoint()
    await made.shutdown()
    await states.close()
    const file = join(path, 'chk-0000000001.base.segment')
    const bytes = readFileSync(file)
    writeFileSync(file, bytes.fill(0xee, 20, 40))
    await using own = await serveInspector({ paths: [path] })
    expect(await answered(own, 'about?place=0')).toMatchObject({
      label: 'checkpoint chk-0000000002',
      source: { offset: 7 },
      schema: { key: 'utf8', states: [{ name: 'total' }] },
    })
    const refused = await answered(own, 'entries?place=0')
    expect(refused).toMatchObject({ code: 'CORRUPTION', error: expect.stringContaining('holdfast repair') })
  })

  it('tells, where no checkpoint is named, which newer ones cannot be read, and which between those that are compared', async () => {
    const path = join(directory, 'unreadable')
    const states = new MemoryStateBackend()
    const made = new CheckpointCoordinator(states, { storage: new FileCheckpointStorage(path) })
    for (let i = 1; i <= 3; i++) {
      states.putSync(Buffer.from('key'), Buffer.from(String(i)))
      await made.createCheckpoint()
    }
    // It makes a fourth one.
    await made.shutdown()
    await states.close()
    for (const id of ['chk-0000000002', 'chk-0000000004'])
      writeFileSync(join(path, `${id}.manifest`), 'no manifest')
    await using own = await serveInspector({ paths: [path] })
    const newer = [{ id: 'chk-0000000004', code: 'CORRUPTION', reason: expect.any(String) }]
    for (const name of ['about', 'entries', 'entry', 'diff', 'survey', 'hot']) {
      const key = Buffer.from('key').toString('hex')
      expect(await answered(own, `${name}?place=0&key=0x${key}`), name).toMatchObject({ newer })
      const named = await answered(own, `${name}?place=0&key=0x${key}&id=3&a=1&b=3`)
      expect(named, name).toMatchObject({ newer: [] })
    }
    expect(await answered(own, 'hot?place=0')).toMatchObject({
      pairs: 1,
      keys: [{ key: 'key', changes: 1 }],
      between: [{ id: 'chk-0000000002' }],
    })
    expect(await answered(own, 'hot?place=0&id=1')).toMatchObject({ pairs: 0, between: [] })
  })

  it('is listed once for an answer', async () => {
    const counted = new FaultyCheckpointStorage(storage)
    await using own = await serveInspector({ checkpoints: { counted } })
    for (const name of ['checkpoints', 'about', 'entries', 'entry', 'diff', 'survey', 'hot']) {
      const before = counted.count('list')
      expect(await answered(own, `${name}?place=0&key=0x00&a=1&b=2`), name).not.toHaveProperty('error')
      expect(counted.count('list') - before, name).toBe(1)
    }
  })

  it('shows of a state also what is too long to be decoded, and what cannot be', async () => {
    const ofState = new MemoryCheckpointStorage()
    const states = new MemoryStateBackend()
    const store = await StateStore.open(
      states,
      defineState({ key: utf8, states: { text: value(json()), count: value(uint32) } }),
    )
    const made = new CheckpointCoordinator(states, { storage: ofState })
    store.count.put('damaged', 1)
    await made.createCheckpoint()
    const entries = [...states.scanSync()]
    for (const [key, stored] of entries)
      if (stored.length === 4) states.putSync(key, Buffer.from('no number'))
    store.text.put('long', 'x'.repeat(1_100_000))
    await made.createCheckpoint()
    await made.shutdown()
    await using own = await serveInspector({ checkpoints: { ofState } })
    expect(await answered(own, 'entries?place=0&state=text')).toMatchObject({
      entries: [{ state: 'text', isCut: true }],
    })
    expect(await answered(own, 'entries?place=0&state=count')).toMatchObject({
      entries: [{ state: 'count', problem: expect.any(String) }],
    })
    expect(await answered(own, 'diff?place=0&a=1&b=2')).toMatchObject({
      counts: expect.arrayContaining([
        { state: 'text', added: 1, removed: 0, changed: 0 },
        { state: 'count', added: 0, removed: 0, changed: 1 },
      ]),
    })
    expect(await answered(own, 'survey?place=0')).toMatchObject({
      largest: expect.arrayContaining([expect.objectContaining({ state: 'text' })]),
    })
  })
})

describe('serveInspector', () => {
  it('takes a job alone; ends what is asked, and all connections, when it is closed', async () => {
    const own = await serveInspector(job)
    const answer = await fetch(`${own.url}api/live`)
    expect(await answer.json()).toMatchObject({ jobs: { job: { events: 7 } } })
    await Promise.all([own.close(), own.close()])
    await expect(fetch(own.url)).rejects.toThrow(/fetch failed/)
  })

  it('answers many requests at once, and warns of none', async () => {
    const warned: unknown[] = []
    const onWarning = (warning: Error) => warned.push(warning.message)
    process.on('warning', onWarning)
    try {
      await using own = await serveInspector(job)
      const { pathname, host, port } = new URL(own.url)
      const socket = connect(Number(port), '127.0.0.1')
      let text = ''
      socket.setEncoding('utf8').on('data', (piece: string) => {
        text += piece
      })
      socket.write(`GET ${pathname}api/live HTTP/1.1\r\nHost: ${host}\r\n\r\n`.repeat(40))
      await expect.poll(() => text.match(/HTTP\/1\.1 200/g)).toHaveLength(40)
      socket.destroy()
    } finally {
      process.off('warning', onWarning)
    }
    expect(warned).toEqual([])
  })

  it('ends a read that waits for a storage that does not answer', async () => {
    let hangs = 0
    const hanging = new Proxy(storage, {
      get: (target, name) => {
        if (name !== 'list') return Reflect.get(target, name).bind?.(target) ?? Reflect.get(target, name)
        return async () => {
          hangs++
          await new Promise(() => {})
        }
      },
    })
    const clock = new ManualClock()
    const own = await serveInspector({ checkpoints: { hanging } }, { clock })
    const asked = fetch(`${own.url}api/checkpoints?place=0`).catch(() => 'ended')
    await expect.poll(() => hangs).toBe(1)
    const closed = own.close()
    expect(await asked).toBe('ended')
    // It is waited for until there is no hope.
    clock.advance(5_000)
    await closed
  })

  it('is closed when what it reads has let go', async () => {
    const held = gate()
    let isLetGo = false
    const slow = changed(storage, {
      list: async () => {
        await held.opened
        isLetGo = true
        return []
      },
    })
    const clock = new ManualClock()
    const own = await serveInspector({ checkpoints: { slow } }, { clock })
    const asked = fetch(`${own.url}api/checkpoints?place=0`).catch(() => 'ended')
    await expect.poll(() => clock.pendingTimers).toBe(1)
    const closed = own.close().then(() => isLetGo)
    expect(await asked).toBe('ended')
    held.open()
    expect(await closed).toBe(true)
  })

  it('refuses a port that is none, that is taken, and a path that holds nothing', async () => {
    await expect(serveInspector({}, { port: 70_000 })).rejects.toThrow(StateError)
    await expect(serveInspector({}, { port: inspector.port })).rejects.toMatchObject({
      code: 'STORAGE_ERROR',
    })
    await expect(serveInspector({ paths: [directory] })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  })
})
