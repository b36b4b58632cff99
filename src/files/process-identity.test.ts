import { spawn } from 'node:child_process'
import { hostname } from 'node:os'
import { describe, expect, it } from 'vitest'
import { mayBeAlive, parseProcessStatus, thisProcess } from './process-identity.js'

/** A line of /proc/<pid>/stat with the fields that matter. */
function statusLine(name: string, state: string, threads: number, startedAt: number): string {
  const before = Array.from({ length: 16 }, () => '0').join(' ')
  return `42 (${name}) ${state} ${before} ${threads} 0 ${startedAt} 0 0\n`
}

describe('process identity', () => {
  it('reads state, threads and start time, whatever the process is called', () => {
    for (const name of ['node', 'a b', ') S 1 (', '']) {
      expect(parseProcessStatus(statusLine(name, 'S', 11, 12_345))).toEqual({
        startedAt: 12_345,
        ended: false,
      })
    }
  })

  it('takes a zombie for dead only once its last thread is gone', () => {
    expect(parseProcessStatus(statusLine('node', 'Z', 1, 7))?.ended).toBe(true)
    expect(parseProcessStatus(statusLine('node', 'X', 0, 7))?.ended).toBe(true)
    expect(parseProcessStatus(statusLine('node', 'Z', 3, 7))?.ended).toBe(false)
  })

  it('makes nothing of what it does not understand', () => {
    for (const text of ['', 'x', '42 (node) S 1 2', statusLine('node', 'S', 1, Number.NaN)]) {
      expect(parseProcessStatus(text)).toBeUndefined()
    }
  })

  it('knows this process as alive, and an unknown host as possibly so', async () => {
    const self = await thisProcess()
    expect(self).toMatchObject({ pid: process.pid, hostname: hostname() })
    expect(await mayBeAlive(self)).toBe(true)
    expect(await mayBeAlive({ ...self, hostname: 'elsewhere', pid: 2 ** 22 + 1 })).toBe(true)
    expect(await mayBeAlive({ ...self, pid: 2 ** 22 + 1 })).toBe(false)
  })

  it.runIf(process.platform === 'linux')(
    'tells a killed process that its parent has not collected',
    async () => {
      // The shell replaces itself by sleep and never collects its child, which stays a zombie once it is killed.
      const shell = spawn('sh', ['-c', 'sleep 60 & echo $!; exec sleep 60'], {
        stdio: ['ignore', 'pipe', 'inherit'],
      })
      try {
        const pid = await new Promise<number>((resolve) =>
          shell.stdout.once('data', (text) => resolve(Number(text))),
        )
        const { bootId } = await thisProcess()
        const owner = { pid, hostname: hostname(), bootId, processStartedAt: null }
        expect(await mayBeAlive(owner)).toBe(true)
        process.kill(pid, 'SIGKILL')
        await expect.poll(() => mayBeAlive(owner)).toBe(false)
        expect(() => process.kill(pid, 0)).not.toThrow()
      } finally {
        shell.kill('SIGKILL')
      }
    },
  )
})
