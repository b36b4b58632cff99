// npm run nexmark -- --query 9 --events 1000000

import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import type { NexmarkSettings } from './generator.js'
import { openPlace } from './place.js'
import { queries } from './queries.js'

const USAGE = `usage: npm run nexmark -- --query N [options]

  --query N       ${[...queries.keys()].join(', ')}
  --events N      how many events the generator makes; default 1000000
  --rate N        how many of them in a second of their own time; default 10000
  --seed N        default 1
  --engine NAME   memory or lmdb; default memory
  --folder PATH   where state and outputs lie: a run that was ended goes on there; default a new one
  --paced         waits for Enter behind each hundred events, and makes cuts all the time: to be killed on the way
`

async function main(): Promise<number> {
  const text = { type: 'string' } as const
  const { values } = parseArgs({
    options: {
      query: text,
      events: { ...text, default: '1000000' },
      rate: { ...text, default: '10000' },
      seed: { ...text, default: '1' },
      engine: { ...text, default: 'memory' },
      folder: text,
      paced: { type: 'boolean', default: false },
    },
  })
  const [number, events, rate, seed] = [values.query, values.events, values.rate, values.seed].map(Number)
  const run = queries.get(number as number)
  const { engine } = values
  const isWhole = [events, seed].every((value) => Number.isSafeInteger(value) && (value as number) >= 0)
  if (
    run === undefined ||
    !isWhole ||
    !((rate as number) > 0) ||
    (engine !== 'memory' && engine !== 'lmdb')
  ) {
    process.stderr.write(USAGE)
    return 2
  }
  const settings: NexmarkSettings = {
    seed: seed as number,
    events: events as number,
    eventsPerSecond: rate as number,
  }
  const folder = values.folder ?? (await mkdtemp(join(tmpdir(), 'nexmark-')))
  const place = await openPlace({ folder, engine, isPaced: values.paced })
  const cpuBefore = process.cpuUsage()
  const startMs = performance.now()
  const job = await run(settings, place)
  const { events: read, outputs } = await job.finished
  const seconds = (performance.now() - startMs) / 1_000
  const { user, system } = process.cpuUsage(cpuBefore)
  await place.backend.close()
  const figures = {
    query: number,
    events: read,
    outputs,
    seconds: Number(seconds.toFixed(2)),
    processorSecondsPerMillion: Number(((user + system) / Math.max(1, read)).toFixed(2)),
    folder,
  }
  process.stdout.write(`${JSON.stringify(figures)}\n`)
  return 0
}

process.exitCode = await main()
