// Writes numbered batches while the network goes away and comes back: `node partitioned-writer.js <system> <partitions> <scripts>`, in a network
// namespace of its own, which has nothing but this process and the server that it starts. It prints what came of it as JSON.

import { spawnSync } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import { isDeepStrictEqual } from 'node:util'
import { Redis } from 'ioredis'
import { Pool } from 'pg'
import type { RunningService } from '../../../scripts/services/services.mjs'
import type { StateBackend } from '../../../src/backend/state-backend.js'
import { seededRandom } from '../../../src/base/random.js'
import { PostgresStateBackend } from '../../../src/postgres.js'
import { RedisStateBackend } from '../../../src/redis.js'
import { contentBehind, lastOf, numberedBatch } from './numbered-batches.js'

const LANES = 8
const MOST_MS = 4_000
const ANSWER_WITHIN_MS = 1_000
const [system = '', partitions = '', scripts = ''] = process.argv.slice(2)

function network(state: 'up' | 'down'): void {
  const { status, stderr } = spawnSync('ip', ['link', 'set', 'lo', state], { encoding: 'utf8' })
  if (status !== 0) throw new Error(`the network is not ${state}: ${stderr}`)
}

async function open(address: string): Promise<StateBackend> {
  const options = { name: 'partitioned', answerWithinMs: ANSWER_WITHIN_MS }
  if (system === 'postgres') {
    const pool = new Pool({ connectionString: address })
    pool.on('error', () => {})
    return await PostgresStateBackend.open({ pool, ...options })
  }
  const client = new Redis(address, {
    maxRetriesPerRequest: 1,
    retryStrategy: () => 20,
    socketTimeout: 2_000,
  })
  client.on('error', () => {})
  return await RedisStateBackend.open({ client, ordered: true, ...options })
}

network('up')
const { startService } = (await import(pathToFileURL(scripts).href)) as {
  startService(name: string): Promise<RunningService>
}
const service = await startService(system)
let result: object
try {
  const backend = await open(service.address)
  const seen = { next: 1, acknowledged: 0, isEnding: false, failure: '' }
  const lane = async () => {
    while (!seen.isEnding) {
      await backend.write(numberedBatch(seen.next++))
      seen.acknowledged++
    }
  }
  const lanes = Promise.all(Array.from({ length: LANES }, lane)).catch((error: unknown) => {
    seen.failure = String(error)
  })
  const more = async (count: number) => {
    const enough = seen.acknowledged + count
    while (seen.acknowledged < enough && seen.failure === '') await sleep(5)
  }
  const random = seededRandom(20_261_130)
  for (let i = 0; i < Number(partitions); i++) {
    await more(20 + Math.floor(random() * 100))
    network('down')
    await sleep(Math.floor(random() * MOST_MS))
    network('up')
  }
  await more(100)
  seen.isEnding = true
  await lanes
  const content: [string, string][] = []
  for await (const [key, value] of backend.scan())
    content.push([Buffer.from(key).toString(), Buffer.from(value).toString()])
  const last = lastOf(content)
  const isWhole = isDeepStrictEqual(content, contentBehind(last))
  result = { acknowledged: seen.acknowledged, last, isWhole, failure: seen.failure }
} finally {
  await service.stop()
}
process.stdout.write(`${JSON.stringify(result)}\n`)
process.exit()
