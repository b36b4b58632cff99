// The checkpoint worker: does the jobs it is given, side by side, each through a port of its own.

import { parentPort } from 'node:worker_threads'
import { loadModule } from '../../base/compiled.js'
import { blockCodec, type CodecName, threadCodec } from '../../codec/block-codec.js'
import type {
  ObjectSource,
  ObjectStorage,
  OpenSharedSource,
  OpenSharedStorage,
} from '../../storage/checkpoint-storage.js'
import { BuilderLink, type ContentBuilder } from './builder-link.js'
import { type PulseGiver, pulsingSource, pulsingStorage } from './job-pulse.js'
import { openStateBuilder } from './open-builder.js'
import { buildContent, type PerformedJob, readContent, runJob } from './read-job.js'
import { type JobTools, mergeCheckpoint } from './segment-jobs.js'
import { callsToSpare, PoolCalls, sparingCodec } from './spare-threads.js'
import type { ThreadLink } from './thread-link.js'
import { Throttle } from './throttle.js'
import { throttledSource, throttledStorage } from './throttled-storage.js'
import type {
  BuildJob,
  JobRequest,
  JobResult,
  LoadModule,
  ModuleCall,
  StartJob,
  WorkerLimits,
} from './worker-protocol.js'
import { writeContent } from './write-job.js'

/** One for each set of limits, so that jobs with the same limits rest for each other. */
const throttles = new Map<string, Throttle>()

const poolCalls = new PoolCalls()

function throttleFor(limits: WorkerLimits): Throttle {
  const key = `${limits.workerShare} ${limits.maxBytesPerSecond}`
  const throttle = throttles.get(key) ?? new Throttle(limits)
  throttles.set(key, throttle)
  return throttle
}

async function perform(
  request: JobRequest,
  link: ThreadLink,
  pulse: PulseGiver,
): Promise<PerformedJob | JobResult> {
  const { limits } = request
  const { signal } = link
  const limited = limits.workerShare < 1 || limits.maxBytesPerSecond < Infinity
  // While the pool compresses some blocks, and tries them, this thread gathers and sums the next ones.
  const sparing = (name: CodecName) =>
    sparingCodec(blockCodec(name), poolCalls, () => callsToSpare(pulse.hostLoad))
  const toolsFor = <Storage extends ObjectSource>(storage: Storage): JobTools<Storage> => ({
    storage,
    // The share is of this thread's time: with less than all of it, nothing is handed to other threads.
    codecOf: (name) => threadCodec(name, limits.workerShare < 1),
    writingCodecOf: (name) => (limits.workerShare < 1 ? threadCodec(name, true) : sparing(name)),
    signal,
    onCommitted: () => link.tell('committed'),
    onLeftover: (leftover) => link.noteLeftover(leftover),
  })
  if (request.kind === 'read') {
    const storage = request.storage === undefined ? link.storage : await openSource(request.storage)
    const opened = pulsingSource(storage, pulse)
    const source = limited ? throttledSource(opened, throttleFor(limits), signal) : opened
    const { build } = request
    if (build === undefined) return await readContent(request, toolsFor(source), link)
    return await buildContent(request, toolsFor(source), link, () => openBuilder(build, signal, pulse))
  }
  const storage = request.storage === undefined ? link.storage : await openStorage(request.storage)
  const opened = pulsingStorage(storage, pulse)
  const tools = toolsFor(limited ? throttledStorage(opened, throttleFor(limits), signal) : opened)
  if (request.kind === 'write') return await writeContent(request, tools, link, pulse)
  const { name, codec, content } = request
  const segment = await mergeCheckpoint(tools, name, codec, content)
  return { segment, entryCount: content.entryCount }
}

async function openSource({ module, data }: ModuleCall): Promise<ObjectSource> {
  const loaded = (await loadModule(module)) as { readonly openSharedSource: OpenSharedSource }
  return loaded.openSharedSource(data)
}

async function openStorage({ module, data }: ModuleCall): Promise<ObjectStorage> {
  const loaded = (await loadModule(module)) as { readonly openSharedStorage: OpenSharedStorage }
  return loaded.openSharedStorage(data)
}

async function openBuilder(call: BuildJob, signal: AbortSignal, pulse: PulseGiver): Promise<ContentBuilder> {
  if (call.port !== undefined) return watched(new BuilderLink(call.port, signal), pulse)
  return await openStateBuilder(call)
}

/** A builder in another thread: while it is waited for, this one gives no pulse, so that it is seen where that one hangs. */
function watched(link: BuilderLink, pulse: PulseGiver): ContentBuilder {
  return {
    add: (block) => pulse.during(link.add(block)),
    finish: () => pulse.during(link.finish()),
  }
}

parentPort?.on('message', (message: StartJob | LoadModule) => {
  if ('load' in message) void load(message)
  else void runJob(message, (link, pulse) => perform(message.request, link, pulse))
})

async function load({ load: module }: LoadModule): Promise<void> {
  await loadModule(module).catch(() => {})
  parentPort?.postMessage(module)
}

parentPort?.postMessage('ready')
