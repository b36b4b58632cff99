import { execFileSync } from 'node:child_process'
import { mkdirSync, readdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { describe, expect, it, vi } from 'vitest'
import { commandLinePlaces, holdfast, holdfastWith, objectsOf } from '../../test/support/command-line.js'
import { Terminal } from './terminal.js'

const { directory, at } = commandLinePlaces()

describe('holdfast on the command line', () => {
  it('measures engines and checkpoints on a disk, and leaves nothing there', async () => {
    mkdirSync(at('bench'))
    const outcome = await holdfast('bench', at('bench'), '--entries', '2000', '--json')
    const steps = ['put', 'flush', 'get', 'scan', 'checkpoint', 'restore']
    expect(objectsOf(outcome).map(({ engine, step, entries }) => [engine, step, entries])).toEqual(
      ['memory', 'lmdb'].flatMap((engine) =>
        steps.filter((step) => engine === 'lmdb' || step !== 'flush').map((step) => [engine, step, 2_000]),
      ),
    )
    expect(readdirSync(at('bench'))).toEqual([])
    expect((await holdfast('bench', at('bench'), '--entries', '0')).status).toBe(2)
    const bench = ['bench', at('bench'), '--entries', '100000']
    const interrupted = await holdfastWith((interrupt) => setImmediate(interrupt), bench)
    expect([interrupted.status, interrupted.out]).toEqual([130, ''])
    expect(readdirSync(at('bench'))).toEqual([])
  })

  it('prints completions that a shell understands', async () => {
    const { out } = await holdfast('completion', 'bash')
    const complete = 'COMP_WORDS=(holdfast ver); COMP_CWORD=1; _holdfast; echo "${COMPREPLY[@]}"'
    expect(execFileSync('bash', ['-c', `${out}\n${complete}`]).toString()).toBe('verify\n')
    for (const shell of ['zsh', 'fish'])
      expect((await holdfast('completion', shell)).out).toContain('holdfast')
    expect((await holdfast('completion', 'csh')).status).toBe(2)
  })
})

describe('how far a command has come', () => {
  it.each([
    ['count', ['count', at('plain'), '--prefix', 'user:'], 'counting'],
    ['scan', ['scan', at('plain')], 'reading'],
    ['diff', ['diff', at('plain'), '1', '2', '--summary'], 'comparing'],
    ['copy', ['copy', at('plain'), at('copied step by step')], 'copying'],
    ['copy of what is there', ['copy', at('plain'), at('copied step by step')], 'copying'],
  ] as const)('is told by %s, in many steps', async (_, args, label) => {
    const steps: number[] = []
    const asked = vi.spyOn(Terminal.prototype, 'progress').mockImplementation(async () => ({
      advance: (done) => steps.push(done),
      end: () => {},
    }))
    try {
      await holdfast(...args)
      const [[shown, total] = ['', 0]] = asked.mock.calls
      expect([shown, total > 0, steps.length > 3]).toEqual([label, true, true])
      expect(steps.toSorted((left, right) => left - right)).toEqual(steps)
      expect(steps.at(-1)).toBeGreaterThan(0.9 * total)
    } finally {
      asked.mockRestore()
    }
  })
})

describe('an interruption', () => {
  it('in the middle of what takes long leaves neither a progress bar nor a hidden cursor', async () => {
    let interrupt = () => {}
    let nowMs = 0
    const now = vi.spyOn(performance, 'now').mockImplementation(() => (nowMs += 600))
    const timers = vi.spyOn(globalThis, 'setTimeout')
    const ended = vi.spyOn(globalThis, 'clearTimeout')
    try {
      const listen = (listener: () => void) => (interrupt = listener)
      const args = ['grep', at('plain'), 'no such', '--id', '1']
      const onShown = (text: string) => {
        if (!text.includes('searching')) return
        interrupt()
        interrupt = () => {}
      }
      const { status, err } = await holdfastWith(listen, args, onShown)
      expect([status, err.includes('searching')]).toEqual([130, true])
      expect(err.lastIndexOf('\u001b[?25h')).toBeGreaterThan(err.lastIndexOf('\u001b[?25l'))
      expect(ended).toHaveBeenCalledWith(timers.mock.results.at(-1)?.value)
    } finally {
      now.mockRestore()
      timers.mockRestore()
      ended.mockRestore()
    }
  })
})

describe('wrong use', () => {
  it.each([
    ['no command at all', ['frobnicate']],
    ['an unknown option', ['list', '--frob', 'x']],
    ['a path that is not there', ['list', at('nowhere')]],
    ['an empty path', ['list', '']],
    ['a file to copy to', ['copy', at('plain'), at('a-file.ndjson')]],
    ['a file to import into', ['import', at('a-file.ndjson'), at('a-file.ndjson')]],
    ['a file to measure in', ['bench', at('a-file.ndjson')]],
    ['a directory to measure in that is not there', ['bench', at('nowhere')]],
    ['a page of what is not there', ['ui', at('nowhere')]],
    ['a directory of something else', ['list', tmpdir()]],
    ['a store where checkpoints are wanted', ['list', at('store')]],
    ['an id that is not there', ['inspect', at('plain'), '99']],
    ['an id that is none', ['inspect', at('plain'), 'newest']],
    ['a state of plain bytes', ['scan', at('plain'), '--state', 'totals']],
    ['a state that is not there', ['scan', at('typed'), '--state', 'nope']],
    ['an odd number of digits', ['get', at('plain'), '0x123']],
    ['another form', ['scan', at('plain'), '--show', 'xml']],
    ['a limit that is none', ['scan', at('plain'), '--limit', 'many']],
    ['a file to import that is not there', ['import', at('nowhere.ndjson'), at('never')]],
    ['a directory to import', ['import', directory, at('never')]],
    ['a file to export to in a directory that is not there', ['export', at('plain'), at('nowhere', 'all')]],
    ['a directory to export to', ['export', at('plain'), directory]],
    ['a path through a file', ['list', at('a-file.ndjson', 'x')]],
    ['a name that is not UTF-8', ['list', at('\ufffd')]],
  ])('%s is status 2, with one line that says what', async (_what, args) => {
    const { status, out, err } = await holdfast(...args)
    expect([status, out]).toEqual([2, ''])
    expect(err.trim()).not.toBe('')
    expect(err).not.toMatch(/at Object|E[A-Z]{4,}:/)
  })
})

describe('a folder for temporary files that is not there', () => {
  it.each([
    ['import', [at('a-file.ndjson'), at('never')]],
    ['drill', [at('plain')]],
    ['bench', []],
  ])('ends %s in one line, in words', async (command, args) => {
    vi.stubEnv('TMPDIR', at('nowhere'))
    try {
      const { status, out, err } = await holdfast(command, ...args)
      expect([2, 3]).toContain(status)
      expect([out, err.trim().split('\n').length]).toEqual(['', 1])
      expect(err).toMatch(/nowhere: (no such file or directory|it is gone; check)/)
      expect(err).not.toContain('mkdtemp')
    } finally {
      vi.unstubAllEnvs()
    }
  })
})
