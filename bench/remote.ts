// npm run bench:remote — state in Redis and PostgreSQL, and checkpoints in S3, beside what clients do by hand. On servers of their own, on loopback.

import { Command } from 'commander'
import { postgresFigures } from './remote-postgres.js'
import { redisFigures, redisMemory } from './remote-redis.js'
import { s3Figures } from './remote-s3.js'
import type { Figure } from './remote-turns.js'
import { describeRatios, spread } from './statistics.js'

const { entries, runs, checkpointEntries, restoredMb, linkMbit, row, only } = new Command('bench:remote')
  .option('--entries <count>', 'entries of 16 and 100 bytes, a multiple of 500', Number, 100_000)
  .option('--runs <count>', 'turns of client and engine', Number, 7)
  .option('--checkpoint-entries <count>', 'entries of the checkpoint to S3', Number, 1_000_000)
  .option('--restored-mb <megabytes>', 'size of the checkpoint that is restored from S3', Number, 1_000)
  .option(
    '--link-mbit <megabits>',
    'what the link of that restore carries in a second; 0: no limit',
    Number,
    0,
  )
  .option('--row <name>', 'of versitygw: made, or restored')
  .option('--only <name>', 'redis, postgres, or versitygw')
  .parse()
  .opts<{
    entries: number
    runs: number
    checkpointEntries: number
    restoredMb: number
    linkMbit: number
    row?: 'made' | 'restored'
    only?: string
  }>()

/** Each takes seconds, and goes to a disk. */
const S3_RUNS = 5

interface Service {
  readonly address: string
  stop(): Promise<void>
}

const services = new URL('../../scripts/services/services.mjs', import.meta.url).href
const { startService } = (await import(services)) as { startService(name: string): Promise<Service> }

async function on(name: string, measure: (address: string) => Promise<void>): Promise<void> {
  if (only !== undefined && only !== name) return
  const service = await startService(name)
  try {
    await measure(service.address)
  } finally {
    await service.stop()
  }
}

function print({ title, rates, cpuUs, ratios, cpuRatios }: Figure): void {
  for (const [turn, perSecond] of Object.entries(rates)) {
    const cpu = spread(cpuUs[turn] ?? [])
    process.stdout.write(`${title}: ${turn}: ${spread(perSecond)} entries/s, ${cpu} us of processor each\n`)
  }
  process.stdout.write(
    `${title}: ${describeRatios(ratios)} of the speed by hand, ${describeRatios(cpuRatios)} of its processor's time\n`,
  )
}

await on('redis', async (address) => {
  const options = { address, entries, runs }
  for (const figure of await redisFigures(options)) print(figure)
  for (const [kind, bytes] of Object.entries(await redisMemory(options)))
    process.stdout.write(`Redis, memory of an entry of 116 bytes: ${kind}: ${bytes.toFixed(0)} bytes\n`)
})
await on('postgres', async (address) => {
  for (const figure of await postgresFigures({ address, entries, runs })) print(figure)
})
await on('versitygw', async (address) => {
  const options = { address, entries: checkpointEntries, restoredBytes: restoredMb * 1e6, linkMbit, row }
  for await (const figure of s3Figures({ ...options, runs: Math.min(runs, S3_RUNS) })) print(figure)
})
