// A power cut as the file system sees it: what it holds in memory is gone, and it recovers from its journal.

import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { LmdbStateBackend } from '../../src/lmdb/lmdb-state-backend.js'
import { runs } from '../support/long.js'
import { contentAfter, STEP_KEY } from './children/lmdb-plan.js'
import { textOf } from './children/lmdb-stations.js'
import { type CompiledSources, compileSources } from './compile-sources.js'
import { titled } from './fault-kit.js'
import { mountMissing } from './mounted.js'

const CUTS = runs(4, 1)
/** Cuts of a store with a log, of which making the files takes long on a disk in a file. */
const hasLog = (cut: number) => cut % 2 === runs(1, 0)
const IMAGE_BYTES = 128 * 1024 * 1024
/** Shuts a file system down as a power cut would: what its journal holds in memory is not written (EXT4_IOC_SHUTDOWN, NOLOGFLUSH). */
const CUT = `open(F, "<", $ARGV[0]) or die $!; my $flags = pack("L", 2); ioctl(F, 0x8004587d, $flags) or die $!`
const run = (command: string, ...args: string[]) => execFileSync(command, args, { stdio: 'pipe' })

const missing = mountMissing() ?? toolsMissing()

function toolsMissing(): string | undefined {
  try {
    run('mkfs.ext4', '-V')
    run('perl', '-v')
    run('losetup', '--find')
    return undefined
  } catch {
    return 'needs mkfs.ext4, perl and a loop device'
  }
}

describe.skipIf(missing !== undefined)(titled('LmdbStateBackend and a power cut', missing), () => {
  let sources: CompiledSources
  let folder: string
  let mounted: string

  beforeAll(async () => {
    sources = await compileSources()
  })

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'holdfast-power-'))
    mounted = await mkdtemp(join(tmpdir(), 'holdfast-mount-'))
    const image = join(folder, 'image')
    await writeFile(image, '')
    await truncate(image, IMAGE_BYTES)
    run('mkfs.ext4', '-q', image)
    run('mount', '-o', 'loop', image, mounted)
  })
  afterEach(async () => {
    run('umount', mounted)
    await rm(mounted, { recursive: true })
    await rm(folder, { recursive: true })
  })

  it('has everything that was durable, and a prefix of the rest', async () => {
    const path = join(mounted, 'store')
    let last = 0
    let lost = 0
    for (let cut = 1; cut <= CUTS; cut++) {
      const { durable, begun } = await writeUntilCut(path, 5 * cut, hasLog(cut) ? 'log' : '')
      await unmounted()
      run('mount', '-o', 'loop', join(folder, 'image'), mounted)
      const backend = await LmdbStateBackend.open({ path })
      const found = new Map([...backend.scanSync()].map(([key, value]) => [textOf(key), textOf(value)]))
      const step = Number(found.get(STEP_KEY) ?? 0)
      assert.ok(durable > last, 'something became durable between two cuts')
      assert.ok(step >= durable, `step ${durable} was durable, ${step} is there`)
      assert.ok(step <= begun, `step ${begun} was begun, ${step} is there`)
      expect(found).toEqual(contentAfter(step))
      expect(await backend.verify()).toMatchObject({ ok: true, entries: found.size })
      await backend.close()
      lost += begun - step
      last = step
    }
    // A single cut may come right after what was durable.
    if (CUTS > 1) expect(lost).toBeGreaterThan(0)
    console.log(`${CUTS} power cuts, ${last} steps, ${lost} lost that were not acknowledged`)
  })

  /**
   * Returns when nothing has the image mounted: a test that runs beside this one in a mount namespace of its own keeps the file
   * system that was shut down, and mounting the image again would bring that one back.
   */
  async function unmounted(): Promise<void> {
    run('umount', mounted)
    await vi.waitUntil(() => run('losetup', '-j', join(folder, 'image')).length === 0, { timeout: 120_000 })
  }

  /** Cuts the power after so many acknowledgements. The lines say what was acknowledged up to the very end. */
  async function writeUntilCut(
    path: string,
    acknowledgements: number,
    mode: string,
  ): Promise<{ readonly durable: number; readonly begun: number }> {
    const script = sources.pathOf('test/faults/children/lmdb-writer.ts')
    const child = spawn(process.execPath, [script, path, '16', mode], { stdio: ['ignore', 'pipe', 'ignore'] })
    let durable = 0
    let begun = 0
    let heard = 0
    for await (const line of createInterface({ input: child.stdout })) {
      const kind = line.slice(0, line.indexOf(' '))
      if (kind === 'begun') begun = Number(line.slice(kind.length))
      if (kind !== 'durable') continue
      durable = Math.max(durable, Number(line.slice(kind.length)))
      if (++heard !== acknowledgements) continue
      run('perl', '-e', CUT, mounted)
      // It ends by itself, at the first write that fails, or finds out when it is told.
      child.kill('SIGKILL')
    }
    return { durable, begun }
  }
})
