import { execFileSync } from 'node:child_process'
import { mkdtemp, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type CompiledSources, compileSources } from './compile-sources.js'
import { titled } from './fault-kit.js'
import { StoreProcess } from './store-process.js'

/** Runs what follows in a numbering of its own, in which it gets the number after `$0`. */
const NUMBERED = 'echo "$0" > /proc/sys/kernel/ns_last_pid && "$@"; exit $?'

function asProcess(pid: number): string[] {
  const namespaces = ['--pid', '--fork', '--mount-proc', '--kill-child']
  return ['unshare', ...namespaces, 'sh', '-c', NUMBERED, String(pid - 1)]
}

function missingHere(): string | undefined {
  if (process.platform !== 'linux') return 'needs Linux'
  try {
    const [program = '', ...args] = [...asProcess(500), 'sh', '-c', 'echo $$']
    const told = execFileSync(program, args, { stdio: 'pipe' }).toString().trim()
    return told === '500' ? undefined : 'needs to choose the numbers of processes'
  } catch {
    return 'needs the permission to make a pid namespace, and to choose numbers in it'
  }
}

const missing = missingHere()
let sources: CompiledSources
let path: string
const processes: StoreProcess[] = []

async function start(pid: number): Promise<StoreProcess> {
  const started = await StoreProcess.start(sources, path, asProcess(pid))
  processes.push(started)
  expect(await started.tell('pid')).toBe(String(pid))
  return started
}

/** Commits in which nothing but one large value changes. */
async function overwrite(writer: StoreProcess, reader: StoreProcess, times: number): Promise<number> {
  for (let i = 0; i < times; i++) {
    await writer.tell(`put a ${String(i).padEnd(65_536, '.')}`)
    expect(await writer.tell('flush')).toBe('done')
    await reader.tell('get b')
  }
  return (await stat(join(path, 'data-1.mdb'))).size
}

describe.skipIf(missing !== undefined)(titled('two processes with one number', missing), () => {
  beforeAll(async () => {
    sources = await compileSources()
  })
  beforeEach(async () => {
    path = await mkdtemp(join(tmpdir(), 'holdfast-pids-'))
  })
  afterEach(async () => {
    for (const each of processes.splice(0)) await each.kill()
    await rm(path, { recursive: true })
  })

  it('are not let in both, and the first one goes on', async () => {
    const writer = await start(500)
    expect(await writer.tell('open')).toBe('opened')
    await writer.tell('put a 1')
    await writer.tell('flush')
    const reader = await start(500)
    expect(await reader.tell('read')).toBe('STORAGE_ERROR')
    expect(await reader.tell('reason')).toMatch(/the number \(pid\) of this one, 500,.*docker run --pid/)
    await writer.tell('put a 2')
    expect(await writer.tell('flush')).toBe('done')
    expect(await writer.tell('get a')).toBe('2')
    expect(await writer.tell('close')).toBe('done')
    // Still there, and nothing is left over of the refusal.
    expect(await reader.tell('read')).toBe('opened')
    expect(await reader.tell('get a')).toBe('2')
    expect(await writer.tell('open')).toBe('STORAGE_ERROR')
    const third = await start(500)
    expect(await third.tell('read')).toBe('STORAGE_ERROR')
    expect(await reader.tell('get a')).toBe('2')
    expect(await reader.tell('close')).toBe('done')
    expect(await writer.tell('open')).toBe('opened')
  })

  it('are no damage to whoever verifies', async () => {
    const writer = await start(500)
    await writer.tell('open')
    await writer.tell('put a 1')
    await writer.tell('flush')
    const other = await start(400)
    expect(await other.tell('verify 500')).toBe('whole')
    expect(await writer.tell('flush')).toBe('done')
  })

  it('one after the other: what the dead one was reading is not kept', async () => {
    const writer = await start(500)
    await writer.tell('open')
    await writer.tell('put b 1')
    await writer.tell('flush')
    const reader = await start(600)
    expect(await reader.tell('read')).toBe('opened')
    await writer.kill()
    const next = await start(500)
    expect(await next.tell('takeOver')).toBe('opened')
    const bytes = await overwrite(next, reader, 8)
    expect(await overwrite(next, reader, 16)).toBe(bytes)
  })
})
