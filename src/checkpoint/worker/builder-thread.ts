// Puts together what a restore comes to, beside the thread that reads it (builder-link.ts): one restore, and the thread is ended.

import { type MessagePort, workerData } from 'node:worker_threads'
import type { StateBuilder } from '../../backend/built-state.js'
import { pause } from '../../base/clock.js'
import { nextTurn } from '../../base/slices.js'
import type { FromBuilder, PlacedBlock, ToBuilder } from './builder-link.js'
import { openStateBuilder } from './open-builder.js'
import { ErrorCourier } from './packed-error.js'
import type { BuildCall } from './worker-protocol.js'

/** What the thread is started with. */
export interface BuilderThreadData {
  readonly build: BuildCall
  readonly port: MessagePort
}

/**
 * After each of its first blocks the thread rests a little, while V8 compiles beside it what these have shown to be run most. Code that is not compiled
 * yet takes some six times as long, and of a processor that its compiler may be waiting for; the thread that reads is ahead by far more than that.
 */
const FIRST_BLOCKS = 3
const REST_MS = 5

const { build, port } = workerData as BuilderThreadData
/** The memory of each place that it was told of. */
const places: Uint8Array[] = []
const inbox: ToBuilder[] = []
let wake: () => void = () => {}

async function received(): Promise<ToBuilder> {
  for (;;) {
    const message = inbox.shift()
    if (message !== undefined) return message
    await new Promise<void>((resolve) => {
      wake = resolve
    })
  }
}

async function buildAll(): Promise<void> {
  const builder = await openStateBuilder(build)
  let taken = 0
  for (;;) {
    const message = await received()
    if (message.kind === 'finish') break
    for (const block of message.blocks) {
      add(builder, block)
      taken++
      if (taken <= FIRST_BLOCKS) await pause(REST_MS)
    }
    post({ kind: 'taken', places: message.blocks.map(({ place }) => place) })
    // A port hands on all that waits in one turn, and the builder may wait for what is made ready for it.
    await nextTurn()
  }
  const built = builder.finish()
  post({ kind: 'built', built }, built.transferList)
}

function add(builder: StateBuilder, { place, memory, byteLength, entryCount }: PlacedBlock): void {
  if (memory !== undefined) places[place] = new Uint8Array(memory)
  builder.add({ bytes: (places[place] as Uint8Array).subarray(0, byteLength), entryCount })
}

function post(message: FromBuilder, transferList: readonly object[] = []): void {
  port.postMessage(message, transferList as readonly ArrayBuffer[])
}

port.on('message', (message: ToBuilder) => {
  inbox.push(message)
  wake()
})
buildAll().catch((error: unknown) => post({ kind: 'failed', error: new ErrorCourier().pack(error) }))
