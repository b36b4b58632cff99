import { spawn } from 'node:child_process'
import { hostname } from 'node:os'
import { Worker } from 'node:worker_threads'
import { describe, expect, it } from 'vitest'
import { livenessOf, parseProcessStatus, thisThread } from './process-identity.js'

const onLinux = process.platform === 'linux'

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

  it('knows this thread as alive, and a process that is gone as dead', async () => {
    const self = await thisThread()
    expect(self).toMatchObject({ pid: process.pid, hostname: hostname() })
    expect(await livenessOf(self)).toBe('alive')
    expect(await livenessOf({ ...self, pid: 2 ** 22 + 1 })).toBe('dead')
  })

  it.runIf(onLinux)(
    'has no evidence from another host, start of the machine, or numbering of processes',
    async () => {
      const self = await thisThread()
      const gone = { ...self, pid: 2 ** 22 + 1 }
      const elsewhere = [
        { hostname: 'elsewhere' },
        { bootId: '00000000-0000-0000-0000-000000000000' },
        { pidNamespace: 'pid:[1]' },
        { bootId: null },
        { pidNamespace: null },
      ]
      for (const changes of elsewhere) {
        expect(await livenessOf({ ...gone, ...changes }), JSON.stringify(changes)).toBe('unknown')
        expect(await livenessOf({ ...self, ...changes }), JSON.stringify(changes)).toBe('unknown')
      }
    },
  )

  it.runIf(onLinux)('knows that a thread of this process has ended', async () => {
    const script = `
      const { parentPort } = require('node:worker_threads')
      const { readlinkSync, readFileSync } = require('node:fs')
      const status = readFileSync('/proc/thread-self/stat', 'latin1')
      parentPort.once('message', () => {})
      parentPort.postMessage({
        threadId: Number(readlinkSync('/proc/thread-self').split('/').at(-1)),
        threadStartedAt: Number(status.slice(status.lastIndexOf(')') + 2).split(' ')[19]),
      })`
    const worker = new Worker(script, { eval: true })
    const told = await new Promise<object>((resolve, reject) =>
      worker.once('message', resolve).once('error', reject),
    )
    const owner = { ...(await thisThread()), ...told }
    expect(owner.threadId).not.toBe(process.pid)
    expect(await livenessOf(owner)).toBe('alive')
    expect(await livenessOf({ ...owner, threadStartedAt: 1 })).toBe('dead')
    await worker.terminate()
    expect(await livenessOf(owner)).toBe('dead')
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
        const unknown = { processStartedAt: null, threadId: null, threadStartedAt: null }
        const owner = { ...(await thisThread()), pid, ...unknown }
        expect(await livenessOf(owner)).toBe('alive')
        process.kill(pid, 'SIGKILL')
        await expect.poll(() => livenessOf(owner)).toBe('dead')
        expect(() => process.kill(pid, 0)).not.toThrow()
      } finally {
        shell.kill('SIGKILL')
      }
    },
  )
})
