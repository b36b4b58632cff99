import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Admin, Kafka, logLevel, type Producer } from 'kafkajs'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { type RunningService, startService } from '../../scripts/services/services.mjs'
import { seededRandom } from '../../src/base/random.js'
import { kafkaSource } from '../../src/sources/kafka/kafka-source.js'
import { kafkajsClient } from '../../src/sources/kafka/kafkajs-client.js'
import { textOf } from '../../src/testing/fake-kafka.js'
import { compileSources } from '../faults/compile-sources.js'
import { compared } from '../support/compared.js'
import { runs } from '../support/long.js'
import { type CountedEvent, type CountedOutput, countOf } from './children/counted.js'
import { makeTopics } from './kafka-clients.js'

// A job per partition of a real consumer group, in processes of their own.

const KILLS = runs(20, 3)
const CHANGES = runs(50, 5)
const PARTITIONS = 4
const GROWN_TO = 6
const SEED = 20_261_127
/** The group takes six seconds to notice that a member is dead, and a member as long as a process takes to start. */
const CHANGE_LIMIT_MS = 60_000

let service: RunningService
let kafka: Kafka
let admin: Admin
let producer: Producer
let folder: string
let script: string
const members = new Set<ChildProcess>()

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdfast-group-'))
  service = await startService('kafka')
  kafka = new Kafka({ brokers: [service.address], logLevel: logLevel.NOTHING })
  admin = kafka.admin()
  producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1 })
  await Promise.all([admin.connect(), producer.connect()])
  const topics = [
    { topic: 'group-in', numPartitions: PARTITIONS },
    { topic: 'group-out', numPartitions: 1 },
  ]
  await makeTopics(admin, ...topics)
  script = (await compileSources()).pathOf('test/services/children/group-member.ts')
})
afterAll(async () => {
  for (const member of members) member.kill('SIGKILL')
  await Promise.allSettled([admin?.disconnect(), producer?.disconnect()])
  await service?.stop()
  await rm(folder, { recursive: true, force: true })
})

function startMember(): ChildProcess {
  const child = spawn(process.execPath, [script, service.address, folder], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  members.add(child)
  child.on('exit', (status) => {
    members.delete(child)
    if (status !== null && status !== 0) failed.push(`a member ended with ${status}`)
  })
  // What is not read would hold it up.
  if (child.stdout !== null) createInterface({ input: child.stdout }).on('line', () => {})
  return child
}

const failed: string[] = []
const sent: CountedEvent[][] = Array.from({ length: PARTITIONS }, () => [])

/** Some events to each partition, of keys of its own. */
async function send(each: number): Promise<void> {
  const messages = sent.flatMap((events, partition) =>
    Array.from({ length: each }, () => {
      const n = events.length
      const event = { key: `${partition} ${n % 5}`, n }
      events.push(event)
      return { partition, value: JSON.stringify(event) }
    }),
  )
  await producer.send({ topic: 'group-in', messages })
}

/** What readers of committed messages see, once it is as much as is expected, or does not grow any more for a long time. */
async function outputs(expected: number): Promise<CountedOutput[]> {
  const client = kafkajsClient(kafka)
  const reader = await kafkaSource({
    client,
    topic: 'group-out',
    groupId: 'readers',
    decode: ({ value }) => JSON.parse(textOf(value)) as CountedOutput,
  }).open({ positions: {} })
  const found: CountedOutput[] = []
  try {
    // What would be there twice comes soon behind the rest.
    for (let quietMs = 0; quietMs < (found.length < expected ? CHANGE_LIMIT_MS : 3_000); ) {
      const polled = await reader.poll({ maxEvents: 10_000, waitMs: 500, paused: new Set() })
      const events = polled.flatMap((each) => each.events)
      found.push(...events)
      quietMs = events.length > 0 ? 0 : quietMs + 500
    }
    return found
  } finally {
    await reader.close()
    await client.close()
  }
}

/** Tells what is there of what is expected. */
async function told(what: string) {
  const expected = sent.map(countOf)
  const found = await outputs(expected.flat().length)
  const { lost, doubled } = compared(found, expected.flat())
  process.stdout.write(
    `kafka group: ${what}, ${expected.flat().length} events, lost ${lost}, doubled ${doubled}\n`,
  )
  return { found: sent.map((_, i) => found.filter(({ key }) => key.startsWith(`${i} `))), expected }
}

it(
  `J3, J10: nothing is lost or put out twice by three members of which one is killed every few seconds (${KILLS} kills), while partitions are added`,
  async () => {
    const random = seededRandom(SEED)
    for (let i = 0; i < 3; i++) startMember()
    for (let kill = 0; kill < KILLS; kill++) {
      if (kill === 1) {
        await admin.createPartitions({ topicPartitions: [{ topic: 'group-in', count: GROWN_TO }] })
        while (sent.length < GROWN_TO) sent.push([])
        // What a producer of kafkajs is to write to a partition that it does not know of yet, it leaves out without a word.
        await producer.disconnect()
        producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1 })
        await producer.connect()
      }
      await send(50)
      await sleep(1_000 + random() * 4_000)
      await send(50)
      const all = [...members]
      all[Math.floor(random() * all.length)]?.kill('SIGKILL')
      await send(50)
      startMember()
    }
    const { found, expected } = await told(
      `${KILLS} kills of one of three, partitions ${PARTITIONS} to ${GROWN_TO}`,
    )
    expect(failed).toEqual([])
    expect(found).toEqual(expected)
  },
  (KILLS + 3) * CHANGE_LIMIT_MS,
)

it(
  `J3, J10: nothing is lost or put out twice in a storm of ${CHANGES} rebalances`,
  async () => {
    const random = seededRandom(SEED)
    while (members.size < 2) startMember()
    const made = { joined: 0, left: 0, killed: 0 }
    for (let change = 0; change < CHANGES; change++) {
      await send(20)
      const all = [...members]
      const one = all[Math.floor(random() * all.length)]
      if (all.length < 2 || (all.length < 5 && random() < 0.5)) {
        startMember()
        made.joined++
      } else if (random() < 0.7) {
        one?.kill('SIGTERM')
        made.left++
      } else {
        one?.kill('SIGKILL')
        made.killed++
      }
      // The next change comes in the middle of what this one has begun.
      await sleep(200 + random() * 2_000)
    }
    if (members.size === 0) startMember()
    const { found, expected } = await told(`a storm of ${JSON.stringify(made)}`)
    expect(failed).toEqual([])
    expect(found).toEqual(expected)
  },
  (CHANGES + 3) * CHANGE_LIMIT_MS,
)
