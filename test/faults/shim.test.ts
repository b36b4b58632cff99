import { spawnSync } from 'node:child_process'
import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { FaultKit, hasTool, missingForFaults, titled } from './fault-kit.js'

const missing = missingForFaults ?? (canTrace() ? undefined : 'needs strace, with the permission to trace')

function canTrace(): boolean {
  return (
    hasTool('strace') && spawnSync('strace', ['-o', '/dev/null', 'true'], { stdio: 'ignore' }).status === 0
  )
}

describe.skipIf(missing !== undefined)(titled('the fault shim', missing), () => {
  let kit: FaultKit

  beforeAll(async () => {
    kit = await FaultKit.open()
  })
  afterAll(() => kit?.close())

  it('sees every call that strace sees change the watched files', async () => {
    const prefix = join(kit.folder, 'watched')
    const directory = join(prefix, 'checkpoints')
    await mkdir(prefix)
    const script = 'test/faults/children/publish-objects.ts'
    const counted = await kit.runWithFault(script, { prefix, args: [directory] })
    expect(counted.lines.at(-1)).toBe('done')

    const log = join(kit.folder, 'strace.log')
    const again = join(kit.folder, 'traced')
    await mkdir(again)
    const traced = spawnSync(
      'strace',
      [
        '-fy',
        '-s0',
        '-o',
        log,
        `-etrace=${CHANGING_CALLS}`,
        process.execPath,
        kit.scriptPath('test/faults/children/run-script.ts'),
        kit.scriptPath(script),
        join(again, 'checkpoints'),
      ],
      { env: { ...process.env, NODE_OPTIONS: '', UV_USE_IO_URING: '0', UV_THREADPOOL_SIZE: '1' } },
    )
    expect(traced.status, String(traced.stderr)).toBe(0)
    const seen = (await readFile(log, 'utf8')).split('\n').flatMap((line) => callIn(line, again))
    expect(seen.length).toBeGreaterThan(40)
    expect(seen).toEqual(counted.calls.map((call) => call.name))
  })
})

/** What can change a file or a name, whether the shim knows it or not. */
const CHANGING_CALLS = [
  'open',
  'openat',
  'openat2',
  'creat',
  'write',
  'pwrite64',
  'writev',
  'pwritev',
  'pwritev2',
  'sendfile',
  'copy_file_range',
  'splice',
  'fallocate',
  'truncate',
  'ftruncate',
  'fsync',
  'fdatasync',
  'sync_file_range',
  'rename',
  'renameat',
  'renameat2',
  'link',
  'linkat',
  'symlink',
  'symlinkat',
  'unlink',
  'unlinkat',
  'mkdir',
  'mkdirat',
  'rmdir',
  'io_uring_setup',
]
  .map((name) => `?${name}`)
  .join(',')

/** The call in a line of strace's output, under the shim's name for it, where it concerns the folder. */
function callIn(line: string, folder: string): string[] {
  if (!line.includes(folder) || line.includes('execve')) return []
  // Directory listings open for reading with O_DIRECTORY through opendir, inside the C library.
  const name = /^\d+ +(\w+)\(/.exec(line)?.[1]
  if (name === undefined) return []
  if (name === 'openat' || name === 'open') {
    if (line.includes('O_CREAT')) return ['create']
    return line.includes('O_NONBLOCK|O_CLOEXEC|O_DIRECTORY') ? [] : ['open']
  }
  if (name === 'pwrite64' || name === 'writev' || name === 'pwritev') return ['write']
  return [name]
}
