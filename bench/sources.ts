// npm run bench:sources — Kafka to windows to Kafka beside what the client alone reads and writes, the time from a message to its result, and
// how long it takes until another process goes on with the partition of one that was killed. On a broker of its own, on loopback.

import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import Table from 'cli-table3'
import { Command } from 'commander'
import { type Admin, CompressionTypes, Kafka, logLevel, type Producer } from 'kafkajs'
import type { BenchEvent, SourcesSettings, Throughput } from './sources-worker.js'
import { describeRatios, median, spread } from './statistics.js'

const given = new Command('bench:sources')
  .option('--quick', 'smaller, in under two minutes')
  .option('--events <count>', 'messages of 100 bytes', Number)
  .option('--runs <count>', 'turns of client and job', Number)
  .option('--keys <count>', 'keys of the state that is taken over', Number)
  .option('--only <what>', 'throughput, latency or takeover')
  .option('--address <host:port>', 'a broker of yours (default: one is started)')
  .parse()
  .opts<{ quick?: true; events?: number; runs?: number; keys?: number; only?: string; address?: string }>()
const isQuick = given.quick === true
const options = {
  events: given.events ?? (isQuick ? 500_000 : 2_000_000),
  runs: given.runs ?? (isQuick ? 2 : 3),
  latencySeconds: isQuick ? 12 : 30,
  keys: given.keys ?? 1_000_000,
  takeovers: isQuick ? 1 : 3,
}

const MESSAGE_BYTES = 100
const KEYS = 1_000
const SENT_AT_ONCE = 5_000
/** So many messages are of the same millisecond. */
const EVENTS_PER_MS = 10
const LATENCY_EVENTS_A_SECOND = 200
const LIMIT_MS = 120_000

const worker = fileURLToPath(new URL('sources-worker.js', import.meta.url))
const children = new Set<ChildProcess>()

interface Broker {
  readonly address: string
  stop(): Promise<void>
}

async function broker(): Promise<Broker> {
  if (given.address !== undefined) return { address: given.address, stop: async () => {} }
  const services = new URL('../../scripts/services/services.mjs', import.meta.url).href
  const { startService } = (await import(services)) as { startService(name: string): Promise<Broker> }
  return await startService('kafka')
}

interface Worker {
  readonly child: ChildProcess
  /** The next line that has this name. */
  line(name: string): Promise<{ readonly [name: string]: number }>
  /** What it has told of this last. */
  latest(name: string): number | undefined
  /** Lines that nobody has asked for. */
  forget(): void
  kill(): void
}

function start(work: string, settings: SourcesSettings): Worker {
  const child = spawn(process.execPath, [worker, work, JSON.stringify(settings)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  children.add(child)
  const seen: { readonly [name: string]: number }[] = []
  const latest: { [name: string]: number } = {}
  let news = () => {}
  if (child.stdout !== null)
    createInterface({ input: child.stdout }).on('line', (line) => {
      const told = JSON.parse(line) as { readonly [name: string]: number }
      seen.push(told)
      Object.assign(latest, told)
      news()
    })
  child.once('exit', () => news())
  const line = async (name: string) => {
    const endsAtMs = performance.now() + LIMIT_MS
    for (;;) {
      const at = seen.findIndex((each) => Object.hasOwn(each, name))
      if (at >= 0) return seen.splice(0, at + 1).at(-1) as { readonly [name: string]: number }
      if (child.exitCode !== null || child.signalCode !== null || performance.now() > endsAtMs)
        throw new Error(`${work} has not told '${name}'`)
      await Promise.race([sleep(1_000), new Promise<void>((resolve) => (news = resolve))])
    }
  }
  const forget = () => void seen.splice(0)
  return { child, line, latest: (name) => latest[name], forget, kill: () => void child.kill('SIGKILL') }
}

/** A message of 100 bytes. */
function messageOf(event: BenchEvent): { value: string } {
  const json = JSON.stringify(event)
  const padding = MESSAGE_BYTES - json.length - ',"pad":""'.length
  return { value: `${json.slice(0, -1)},"pad":"${'x'.repeat(Math.max(0, padding))}"}` }
}

async function fill(producer: Producer, topic: string, count: number, eventOf: (n: number) => BenchEvent) {
  for (let from = 0; from < count; from += SENT_AT_ONCE) {
    const size = Math.min(SENT_AT_ONCE, count - from)
    const messages = Array.from({ length: size }, (_, i) => messageOf(eventOf(from + i)))
    await producer.send({ topic, messages, compression: CompressionTypes.None })
  }
}

/** Topics of one partition each, which has a leader by then. */
async function createTopics(admin: Admin, ...names: readonly string[]): Promise<void> {
  const topics = names.map((topic) => ({ topic, numPartitions: 1 }))
  await admin.createTopics({ topics, waitForLeaders: true })
}

async function throughput(
  admin: Admin,
  producer: Producer,
  common: Pick<SourcesSettings, 'address' | 'folder'>,
) {
  const { events, runs } = options
  await createTopics(admin, 'events')
  const eventOf = (n: number): BenchEvent => ({
    key: `key ${(n * 7_919) % KEYS}`,
    atMs: 1_800_000_000_000 + Math.floor(n / EVENTS_PER_MS),
    amount: n % 100,
  })
  await fill(producer, 'events', events, eventOf)
  const turns: { readonly client: Throughput; readonly job: Throughput }[] = []
  // The first turn is not counted: caches of the broker are cold.
  for (let run = 0; run <= runs; run++) {
    const measure = async (work: string, outputs: number) => {
      const output = `${work}-${run}`
      await createTopics(admin, output)
      const folder = join(common.folder, output)
      const one = start(work, { ...common, folder, input: 'events', output, events, outputs })
      return (await one.line('cpuSeconds')) as unknown as Throughput
    }
    const job = await measure('windows', 0)
    const client = await measure('clientAlone', job.outputs)
    if (run > 0) turns.push({ client, job })
  }
  return turns
}

async function latency(
  admin: Admin,
  producer: Producer,
  common: Pick<SourcesSettings, 'address' | 'folder'>,
) {
  await createTopics(admin, 'asked', 'answered')
  const one = start('passOn', { ...common, input: 'asked', output: 'answered', events: 0, outputs: 0 })
  await one.line('isReading')
  const delays: number[] = []
  const kafka = new Kafka({ brokers: [common.address], logLevel: logLevel.NOTHING })
  const consumer = kafka.consumer({ groupId: 'latency', readUncommitted: false, maxWaitTimeInMs: 50 })
  await consumer.connect()
  await consumer.subscribe({ topics: ['answered'], fromBeginning: true })
  await consumer.run({
    eachMessage: async ({ message }) => {
      const { atMs } = JSON.parse(String(message.value)) as BenchEvent
      delays.push(Date.now() - atMs)
    },
  })
  const step = 20
  for (let second = 0; second < options.latencySeconds * step; second++) {
    const size = LATENCY_EVENTS_A_SECOND / step
    const event = (i: number): BenchEvent => ({ key: `key ${i}`, atMs: Date.now(), amount: 1 })
    await producer.send({
      topic: 'asked',
      messages: Array.from({ length: size }, (_, i) => messageOf(event(i))),
    })
    await sleep(1_000 / step)
  }
  await sleep(3_000)
  await consumer.disconnect()
  one.kill()
  // What came while the job was still warming up does not count.
  const sorted = delays.slice(LATENCY_EVENTS_A_SECOND * 2).sort((left, right) => left - right)
  const at = (share: number) =>
    sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] as number
  return { count: sorted.length, p50: at(0.5), p99: at(0.99) }
}

async function showThroughput(common: Pick<SourcesSettings, 'address' | 'folder'>) {
  const turns = await throughput(admin, producer, common)
  const rates = (one: (turn: (typeof turns)[number]) => Throughput) =>
    turns.map((turn) => one(turn).events / one(turn).seconds / 1_000)
  const cpu = (one: (turn: (typeof turns)[number]) => Throughput) =>
    turns.map((turn) => (one(turn).cpuSeconds / one(turn).events) * 1_000_000)
  const table = new Table({
    head: ['', 'K events/s', 's of processor per M', 'beside the client'],
    style: { head: [] },
  })
  const ratios = turns.map(({ client, job }) => client.seconds / client.events / (job.seconds / job.events))
  table.push(
    ['the client alone', spread(rates(({ client }) => client)), spread(cpu(({ client }) => client)), ''],
    [
      'Kafka → windows → Kafka',
      spread(rates(({ job }) => job)),
      spread(cpu(({ job }) => job)),
      `${describeRatios(ratios)}, 0.85x asked`,
    ],
  )
  process.stdout.write(
    `${options.events} messages of ${MESSAGE_BYTES} bytes, ${KEYS} keys, ${turns[0]?.job.outputs} results, a checkpoint and a transaction each second\n${table.toString()}\n\n`,
  )
  if (median(ratios) < 0.85) process.stdout.write('Below what was asked: throughput\n')
}

/** A partition with a state of many keys, whose process is killed: when the group has found that out, and when the other one has its first event. */
async function takeover(
  admin: Admin,
  producer: Producer,
  common: Pick<SourcesSettings, 'address' | 'folder'>,
) {
  const { keys } = options
  await createTopics(admin, 'shared', 'sums')
  const eventOf = (n: number): BenchEvent => ({ key: `key ${n}`, atMs: n, amount: 1 })
  await fill(producer, 'shared', keys, eventOf)
  const settings = { ...common, input: 'shared', output: 'sums', events: keys, outputs: 0 }
  const first = start('member', settings)
  await first.line('hasAll')
  const sending = new AbortController()
  const sent = keepSending(producer, eventOf, sending.signal).catch(() => {})
  const members = [first, start('member', settings)]
  // Which of them has the partition behind the rebalance is the group's to say.
  await members[1]?.line('hasJoined')
  const turns: { readonly detectedMs: number; readonly restMs: number }[] = []
  for (let turn = 0; turn < options.takeovers; turn++) {
    const isAfterMs = performance.now() + LIMIT_MS
    let at = -1
    while (at < 0 && performance.now() < isAfterMs) {
      await sleep(5_000)
      at = members.findIndex((each) => each.latest('reads') === 1)
    }
    if (at < 0) throw new Error('no member has the partition')
    const owner = members.splice(at, 1)[0] as Worker
    const [standby] = members as [Worker]
    standby.forget()
    const killedAtMs = Date.now()
    owner.kill()
    const { assignedAtMs = 0, firstAtMs = 0, sum = 0 } = await standby.line('firstAtMs')
    turns.push({ detectedMs: assignedAtMs - killedAtMs, restMs: firstAtMs - assignedAtMs })
    if (sum < 2) throw new Error('the state was not taken over')
    if (turn === options.takeovers - 1) break
    members.push(start('member', settings))
    await members[1]?.line('hasJoined')
  }
  sending.abort()
  await sent
  for (const each of members) each.kill()
  return turns
}

/** A member has its first event only where some come. */
async function keepSending(producer: Producer, eventOf: (n: number) => BenchEvent, signal: AbortSignal) {
  while (!signal.aborted) {
    await sleep(50)
    await fill(producer, 'shared', 1, eventOf)
  }
}

const { address, stop } = await broker()
const folder = mkdtempSync(join(tmpdir(), 'holdfast-bench-sources-'))
const kafka = new Kafka({ brokers: [address], logLevel: logLevel.NOTHING })
const admin = kafka.admin()
const producer = kafka.producer({ allowAutoTopicCreation: false })
try {
  await Promise.all([admin.connect(), producer.connect()])
  process.stdout.write(
    `Kafka on loopback, ${cpus()[0]?.model}, Node.js ${process.version}, kafkajs, one process each\n\n`,
  )
  const common = { address, folder }
  const isWanted = (what: string) => given.only === undefined || given.only === what
  if (isWanted('throughput')) await showThroughput(common)
  if (isWanted('latency')) {
    const { count, p50, p99 } = await latency(admin, producer, common)
    process.stdout.write(
      `From append to result, a transaction each second, ${count} messages: p50 ${p50} ms, p99 ${p99} ms\n`,
    )
  }
  if (isWanted('takeover')) {
    const turns = await takeover(admin, producer, common)
    const seconds = (of: (turn: (typeof turns)[number]) => number) =>
      spread(turns.map((turn) => of(turn) / 1_000))
    process.stdout.write(
      `Partition of a killed process, ${options.keys} keys of state: given to another one by the group after ${seconds(({ detectedMs }) => detectedMs)} s (session timeout 6 s), first event ${seconds(({ restMs }) => restMs)} s later (2 s asked)\n`,
    )
    if (median(turns.map(({ restMs }) => restMs)) > 2_000)
      process.stdout.write('Below what was asked: takeover\n')
  }
} finally {
  for (const child of children) child.kill('SIGKILL')
  await Promise.allSettled([admin.disconnect(), producer.disconnect()])
  await stop()
  rmSync(folder, { recursive: true, force: true })
}
