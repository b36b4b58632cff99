// The network between a store's writer and its server goes away and comes back.

import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { resolve } from 'node:path'
import { describe, expect, it } from 'vitest'
import { prepareService } from '../../scripts/services/services.mjs'
import { compileSources } from '../faults/compile-sources.js'
import { runs } from '../support/long.js'

const PARTITIONS = Number(process.env['HOLDFAST_KILLS'] ?? runs(20, 2))
const LIMIT_MS = 60_000

/** Why there are no network namespaces here; `undefined` where there are. */
function reasonAgainst(): string | undefined {
  const { status, error, stderr } = spawnSync('unshare', ['-n', 'ip', 'link', 'set', 'lo', 'up'], {
    encoding: 'utf8',
  })
  return status === 0 ? undefined : (error?.message ?? stderr.trim())
}

export function stateSurvivesPartitions(system: string): void {
  const reason = reasonAgainst()
  describe.skipIf(reason !== undefined)(
    `state on ${system} behind a network that goes away${reason === undefined ? '' : ` (${reason})`}`,
    () => {
      it(
        `holds every batch, once and in order (${PARTITIONS} partitions)`,
        async () => {
          await prepareService(system)
          const script = (await compileSources()).pathOf('test/services/children/partitioned-writer.ts')
          const services = resolve(import.meta.dirname, '../../scripts/services/services.mjs')
          const args = ['-n', process.execPath, script, system, String(PARTITIONS), services]
          const child = spawn('unshare', args, { stdio: ['ignore', 'pipe', 'inherit'] })
          let said = ''
          child.stdout.on('data', (data) => {
            said += String(data)
          })
          await once(child, 'close')
          const found = JSON.parse(said) as { readonly acknowledged: number }
          process.stdout.write(
            `${system}: ${PARTITIONS} partitions, ${found.acknowledged} batches acknowledged, none lost, none twice\n`,
          )
          expect(found).toEqual({
            acknowledged: found.acknowledged,
            last: found.acknowledged,
            isWhole: true,
            failure: '',
          })
        },
        (PARTITIONS + 1) * LIMIT_MS,
      )
    },
  )
}
