// The inspector in a real browser. It is to be well-behaved there: no request to anywhere else, nothing that its policy forbids, no error.

import { existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { type Browser, chromium, type Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { CheckpointCoordinator, MemoryCheckpointStorage, MemoryStateBackend } from '../../src/index.js'
import { type RunningInspector, serveInspector } from '../../src/inspector.js'
import {
  arraySource,
  ascending,
  defineJob,
  functionSink,
  iterableSource,
  type RunningJob,
  runJob,
} from '../../src/job.js'
import { defineState, StateStore, uint32, utf8, value } from '../../src/state.js'
import { count, tumbling, type WindowResult, windowed } from '../../src/window.js'

const SCHEMES = ['light', 'dark'] as const
const WIDTHS = [1_280, 375] as const

interface Order {
  readonly user: string
  readonly at: number
}

const schema = defineState({ key: utf8, states: { total: value(uint32) } })
const installed =
  (process.env['PATH'] ?? '')
    .split(delimiter)
    .map((folder) => join(folder, 'chromium'))
    .find((file) => existsSync(file)) ?? '/usr/bin/chromium'
/** A folder for pictures of every view, to be looked at. */
const screenshots = process.env['HOLDFAST_SCREENSHOTS']
let browser: Browser
let inspector: RunningInspector
let coordinator: CheckpointCoordinator
let backend: MemoryStateBackend
let job: RunningJob<typeof schema>

beforeAll(async () => {
  backend = new MemoryStateBackend()
  const storage = new MemoryCheckpointStorage()
  coordinator = new CheckpointCoordinator(backend, { storage })
  const store = await StateStore.open(backend, schema)
  for (let i = 0; i < 500; i++) store.total.put(`user${i}`, i)
  await coordinator.createCheckpoint()
  store.total.put('user7', 777)
  store.total.put('\u202e\u001b[31m<img src=x onerror=alert(1)>', 1)
  store.total.delete('user8')
  await coordinator.createCheckpoint()
  job = await runJob({
    name: 'usage',
    source: arraySource(Array.from({ length: 100 }, (_, i) => ({ user: `u${i % 9}` }))),
    key: (event: { readonly user: string }) => event.user,
    schema,
    process: (_event, { state }) => state.total.put((state.total.get() ?? 0) + 1),
    sink: functionSink({ write: async () => {} }),
    backend: new MemoryStateBackend(),
    checkpoints: { storage: new MemoryCheckpointStorage() },
  })
  await job.finished
  inspector = await serveInspector({
    jobs: { usage: job },
    coordinators: { usage: coordinator },
    backends: { usage: backend },
    checkpoints: { usage: storage },
  })
  if (!(await fetch(inspector.url)).ok) throw new Error('build first: npm run build')
  browser = await chromium.launch({
    executablePath: installed,
    args: '--no-sandbox --disable-gpu --disable-background-networking --disable-component-update'.split(' '),
  })
})
afterAll(async () => {
  await browser?.close()
  await inspector?.close()
  await coordinator?.shutdown()
  await backend?.close()
})

/** A page of that width; `complaints` are all that a browser has to say, and each request to another place. */
async function opened(
  width: number,
  colorScheme: 'light' | 'dark',
  url = inspector.url,
): Promise<{ page: Page; complaints: string[] }> {
  const context = await browser.newContext({ viewport: { width, height: 800 }, colorScheme })
  const page = await context.newPage()
  const complaints: string[] = []
  page.on('console', (message) => complaints.push(`${message.type()}: ${message.text()}`))
  page.on('pageerror', (error) => complaints.push(error.message))
  page.on('dialog', (dialog) => complaints.push(`a dialog: ${dialog.message()}`))
  page.on('request', (request) => {
    if (!request.url().startsWith(url)) complaints.push(`asked for ${request.url()}`)
  })
  await page.addInitScript(
    "addEventListener('securitypolicyviolation', (event) => console.error('policy: ' + event.violatedDirective))",
  )
  return { page, complaints }
}

const goTo = async (page: Page, view: string) => {
  await page.goto(`${inspector.url}#/${view}`)
}

describe.each(SCHEMES)('the inspector in Chromium, %s', (scheme) => {
  it.each(WIDTHS)(
    'shows every view at %i pixels, within its width and without a complaint',
    async (width) => {
      const { page, complaints } = await opened(width, scheme)
      const views: [view: string, text: string][] = [
        ['checkpoints', 'Checkpoint 2'],
        ['entries', 'user'],
        ['compare', 'What has changed'],
        ['sizes', 'Largest entries'],
        ['live', 'Job usage'],
      ]
      for (const [view, text] of views) {
        await goTo(page, view)
        await page.getByText(text).first().waitFor()
        const excess = await page.evaluate('document.documentElement.scrollWidth - innerWidth')
        expect(excess, view).toBeLessThanOrEqual(0)
        const hidden =
          '[...document.querySelectorAll(".scroll")].map((each) => each.scrollWidth - each.clientWidth)'
        // Fonts differ a little from machine to machine; a column that is cut off is wider than this.
        expect(Math.max(0, ...((await page.evaluate(hidden)) as number[])), view).toBeLessThanOrEqual(20)
        if (screenshots !== undefined)
          await page.screenshot({ path: join(screenshots, `${view}-${width}-${scheme}.png`) })
      }
      expect(complaints).toEqual([])
      await page.context().close()
    },
  )

  it('has its own colours', async () => {
    const { page } = await opened(1_280, scheme)
    await goTo(page, 'checkpoints')
    await page.getByText('Checkpoint 2').first().waitFor()
    const ground = String(await page.evaluate('getComputedStyle(document.body).backgroundColor'))
    const lightness = Number(/\d+/.exec(ground)?.[0])
    if (scheme === 'dark') expect(lightness).toBeLessThan(60)
    else expect(lightness).toBeGreaterThan(200)
    await page.context().close()
  })
})

describe('a view of a checkpoint that is pruned while somebody looks', () => {
  it('stays with the one it was opened with, goes to the newest once that is gone, and says so of one that was chosen', async () => {
    const storage = new MemoryCheckpointStorage()
    await using pruned = new MemoryStateBackend()
    const store = await StateStore.open(pruned, schema)
    const making = new CheckpointCoordinator(pruned, { storage, maxCheckpoints: 2 })
    const make = async (name: string) => {
      store.total.put(name, 1)
      await making.createCheckpoint()
    }
    await make('first')
    await make('second')
    await using own = await serveInspector({ checkpoints: { pruned: storage } })
    const { page } = await opened(1_280, 'light')
    await page.clock.install()
    await page.goto(`${own.url}#/entries`)
    const rows = () => page.locator('tbody tr').count()
    const choice = page.getByLabel('Checkpoint')
    await expect.poll(rows).toBe(2)
    await make('third')
    // The list is read again every ten seconds.
    await page.clock.runFor(11_000)
    await expect.poll(() => choice.locator('option').first().innerText()).toContain('3 ·')
    expect(await choice.inputValue()).toBe('chk-0000000002')
    expect(await rows()).toBe(2)
    await make('fourth')
    await page.clock.runFor(11_000)
    await expect.poll(rows).toBe(4)
    expect(await choice.inputValue()).toBe('chk-0000000004')
    await page.goto(`${own.url}#/entries?id=chk-0000000002`)
    await page.getByRole('alert').waitFor()
    expect(await page.getByRole('alert').innerText()).toContain('chk-0000000002')
    expect(await choice.locator('option:checked').innerText()).toBe('2 · is not there any more')
    await page.goto(`${own.url}#/checkpoints`)
    await page.getByText('Checkpoint 4').first().waitFor()
    await make('fifth')
    await page.clock.runFor(11_000)
    await expect.poll(() => page.locator('tbody tr.choice').first().innerText()).toContain('5')
    expect(await page.getByText('Checkpoint 4').count()).toBeGreaterThan(0)
    await making.shutdown()
    await page.context().close()
  })
})

describe('a newest checkpoint that cannot be read', () => {
  it('is told of in every view of the one before it, and not where that was chosen', async () => {
    const storage = new MemoryCheckpointStorage()
    await using own = await unreadable(storage)
    const { page } = await opened(375, 'light', own.url)
    const told = page.getByText('chk-0000000003 is newer than what is shown, and cannot be read')
    for (const view of ['entries', 'compare', 'sizes']) {
      await page.goto(`${own.url}#/${view}`)
      await told.waitFor()
    }
    await page.goto(`${own.url}#/entries?id=chk-0000000002`)
    await page.locator('tbody tr').first().waitFor()
    expect(await told.count()).toBe(0)
    await page.context().close()
  })

  async function unreadable(storage: MemoryCheckpointStorage): Promise<RunningInspector> {
    await using states = new MemoryStateBackend()
    const making = new CheckpointCoordinator(states, { storage })
    for (let i = 0; i < 2; i++) {
      states.putSync(Buffer.from('key'), Buffer.from(String(i)))
      await making.createCheckpoint()
    }
    // It makes a third one.
    await making.shutdown()
    storage.tamper('chk-0000000003.manifest', Buffer.from('no manifest'))
    return await serveInspector({ checkpoints: { storage } })
  }
})

describe('a live job', () => {
  it('shows its open windows, what is due when, its timers by stage, and its checkpoints', async () => {
    let isOver = () => {}
    const over = new Promise<void>((resolve) => {
      isOver = resolve
    })
    const orders = defineJob<Order, WindowResult<string, number>>()({
      name: 'orders',
      key: ({ user }) => user,
      timestamp: ({ at }) => at,
      time: { watermarks: ascending() },
      schema: defineState({ key: utf8, states: {} }),
      windows: { 'per minute': windowed({ windows: tumbling({ sizeMs: 60_000 }), aggregate: count() }) },
    }).pipe<never>()({
      name: 'alerts',
      key: ({ key }) => key,
      schema,
      process: ({ value: orderCount }, { state, timers }) => {
        state.total.put(orderCount)
        timers.event.set(7_200_000)
      },
      onTimer: () => {},
    })
    const running = await runJob({
      ...orders,
      source: iterableSource<Order>({
        async *from() {
          for (let i = 0; i < 30; i++)
            yield [{ user: `u${i % 3}`, at: 3_600_000 + i * 10_000 }, i + 1] as const
          await over
        },
      }),
      backend: new MemoryStateBackend(),
      checkpoints: { storage: new MemoryCheckpointStorage(), intervalMs: 20 },
    })
    await using own = await serveInspector(running)
    for (const width of WIDTHS) {
      const { page, complaints } = await opened(width, 'dark', own.url)
      await page.goto(own.url)
      await page.getByText('open windows').first().waitFor()
      const windows = page.locator('tr', { hasText: 'per minute' })
      await expect.poll(() => windows.innerText()).toMatch(/per minute\s+3\s+1970-01-01 01:04:59 UTC/)
      const alerts = page.locator('tr', { hasText: 'alerts' })
      await expect.poll(() => alerts.innerText()).toMatch(/alerts\s+12\s+0\s+3\s+0\s+1970-01-01 02:00:00 UTC/)
      await page.getByText('Checkpoints of job').waitFor()
      const excess = await page.evaluate('document.documentElement.scrollWidth - innerWidth')
      expect(excess).toBeLessThanOrEqual(0)
      if (screenshots !== undefined)
        await page.screenshot({ path: join(screenshots, `windows-${width}.png`), fullPage: true })
      expect(complaints).toEqual([])
      await page.context().close()
    }
    isOver()
    await running.stop()
  })
})

describe('the inspector, by the keyboard', () => {
  it('goes from view to view, chooses a checkpoint and its figures, and nothing else is needed', async () => {
    const { page, complaints } = await opened(1_280, 'light')
    await goTo(page, 'checkpoints')
    await page.getByText('Checkpoint 2').first().waitFor()
    const focused = () => page.evaluate('document.activeElement?.textContent ?? ""')
    /** Tab until it is there. */
    const tabTo = async (text: string) => {
      for (let i = 0; i < 40; i++) {
        await page.keyboard.press('Tab')
        if (String(await focused()).startsWith(text)) return
      }
      throw new Error(`${text} is not reached by Tab`)
    }
    await tabTo('2')
    await page.keyboard.press('ArrowDown')
    await page.keyboard.press('Enter')
    await page.getByText('Checkpoint 1').first().waitFor()
    await tabTo('Look at its entries')
    await page.keyboard.press('Enter')
    await expect.poll(() => page.url()).toContain('entries?')
    expect(page.url()).toContain('id=chk-0000000001')
    await page.keyboard.press('?')
    await page.locator('dialog').waitFor()
    await page.keyboard.press('Escape')
    await expect.poll(() => page.locator('dialog').count()).toBe(0)
    await page.keyboard.press('5')
    await page.getByText('Job usage').waitFor()
    await tabTo('Hold')
    await page.keyboard.press('Enter')
    await page.getByText('Stopped', { exact: true }).waitFor()
    expect(complaints).toEqual([])
    await page.context().close()
  })

  it('is searched, an entry is opened and closed, and what is hostile is only looked at', async () => {
    const { page, complaints } = await opened(1_280, 'light')
    await goTo(page, 'checkpoints')
    await page.getByText('Checkpoint 2').first().waitFor()
    await page.keyboard.press('2')
    await page.getByText('user').first().waitFor()
    await page.keyboard.press('/')
    await page.keyboard.type('user77')
    await expect.poll(() => page.locator('tbody tr').count()).toBe(1)
    await page.locator('tbody tr').focus()
    await page.keyboard.press('Enter')
    await page.locator('dialog pre').first().waitFor()
    expect(await page.locator('dialog').innerText()).toContain('user77')
    await page.keyboard.press('Escape')
    await expect.poll(() => page.locator('dialog').count()).toBe(0)
    await page.locator('#search').fill('onerror')
    await expect
      .poll(() => page.locator('tbody tr').innerText())
      .toContain(String.raw`\u{202e}\u{1b}[31m<img src=x`)
    expect(complaints).toEqual([])
    await page.context().close()
  })

  it('does not say that nothing was found before all was looked at', async () => {
    const { page } = await opened(1_280, 'light')
    let next: string | null = '0x01'
    await page.route('**/api/entries?**', (route) =>
      route.fulfill({ json: { entries: [], next, examined: 10, tellsExpiry: true } }),
    )
    await goTo(page, 'entries?text=nowhere')
    await page.getByText('Nothing has “nowhere” in it so far.').waitFor()
    next = null
    await page.getByText('Search on').click()
    await page.getByText('Nothing has “nowhere” in it.', { exact: true }).waitFor()
    expect(await page.getByText('Search on').count()).toBe(0)
    await page.context().close()
  })

  it('keeps what is typed while the address takes in what was typed before', async () => {
    const { page } = await opened(1_280, 'light')
    await page.clock.install()
    await goTo(page, 'entries')
    await page.locator('tbody tr').first().waitFor()
    await page.clock.pauseAt(Date.now() + 3_600_000)
    await page.locator('#search').focus()
    await page.keyboard.type('user')
    const address = async () => String(await page.evaluate('location.hash'))
    for (let i = 0; i < 500 && !(await address()).includes('text=user'); i++) await page.clock.runFor(1)
    await page.keyboard.type('77')
    await page.clock.runFor(1_000)
    expect(await page.locator('#search').inputValue()).toBe('user77')
    await page.context().close()
  })

  it('compares two checkpoints, and follows what is chosen in its address', async () => {
    const { page, complaints } = await opened(1_280, 'light')
    await goTo(page, 'compare?a=chk-0000000001&b=chk-0000000002')
    await page.getByText('777').waitFor()
    expect(await page.locator('.differences li').count()).toBe(3)
    await page.getByText('Swap').click()
    await page.getByText('from 2 to 1').waitFor()
    expect(page.url()).toContain('a=chk-0000000002')
    expect(complaints).toEqual([])
    await page.context().close()
  })

  it('follows a live job, and says so when nobody answers any more', async () => {
    const { page } = await opened(1_280, 'dark')
    const own = await serveInspector({ jobs: { usage: job }, backends: { usage: backend } })
    await page.goto(own.url)
    await page.getByText('Job usage').waitFor()
    const { entries } = backend.stats()
    backend.putSync(Buffer.from('another'), Buffer.from('one'))
    await page.getByText(String(entries + 1), { exact: true }).waitFor()
    await own.close()
    await page.getByText('does not answer').waitFor()
    expect(await page.getByRole('alert').innerText()).toContain('Does the process still run?')
    await page.context().close()
  })
})
