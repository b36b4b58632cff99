import { chmod, mkdir } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { FileCheckpointStorage } from '../../src/storage/file-checkpoint-storage.js'
import { asOwner } from '../support/checkpoints.js'
import { FaultKit, missingForFaults, titled } from './fault-kit.js'

const SCRIPT = 'test/faults/children/forbidden-directory.ts'

describe.skipIf(missingForFaults !== undefined)(
  titled('a directory without permissions', missingForFaults),
  () => {
    let kit: FaultKit

    beforeAll(async () => {
      kit = await FaultKit.open()
      await chmod(dirname(kit.folder), 0o755)
      await chmod(kit.folder, 0o755)
    })
    afterAll(() => kit?.close())

    async function attemptsOn(
      name: string,
      mode: number,
    ): Promise<{ directory: string; lines: readonly string[] }> {
      const directory = join(kit.folder, name)
      await mkdir(directory)
      await asOwner(new FileCheckpointStorage(directory), (lease) => lease.replace('a', new Uint8Array(1)))
      await chmod(directory, mode)
      const run = await kit.runWithFault(SCRIPT, { prefix: directory, args: [directory] })
      await chmod(directory, 0o700)
      expect(run).toMatchObject({ exitCode: 0, errorOutput: '' })
      return { directory, lines: run.lines }
    }

    it('refuses every call where nothing is allowed, with the path and the next step', async () => {
      const { directory, lines } = await attemptsOn('closed', 0o000)
      expect(lines).toHaveLength(3)
      for (const line of lines) {
        expect(line).toContain(' STORAGE_ERROR ')
        expect(line).toContain(directory)
        expect(line).toContain('permission denied; let the user of this process read and write there')
      }
    })

    it('refuses what writes where only reading is allowed, and lists', async () => {
      const { lines } = await attemptsOn('read-only', 0o555)
      const outcomes = Object.fromEntries(lines.map((line) => line.split(' ', 2)))
      expect(outcomes).toMatchObject({
        acquire: 'STORAGE_ERROR',
        list: 'fulfilled',
      })
      expect(lines.find((line) => line.startsWith('acquire'))).toContain('permission denied')
    })
  },
)
