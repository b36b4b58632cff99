import type { Batch, EventSource, LlmRequest, SourcePosition } from './events.js'
import { costUsdOf, prices } from './prices.js'
import { randomFrom } from './random.js'

const START_MS = Date.UTC(2026, 0, 15, 8)
const SPAN_MS = 4 * 60 * 60 * 1000
const LONGEST_DELAY_MS = 2 * 60 * 1000
const TENANTS = 40

const models = [...prices.keys()]
const tenants = Array.from({ length: TENANTS }, (_, i) => `tenant-${String(i + 1).padStart(2, '0')}`)

export interface GeneratorOptions {
  readonly seed: number
  /** How many requests there are, spread over four hours. */
  readonly events: number
}

/**
 * Made-up traffic of a gateway: 320 keys, few of them busy, with a rush in the middle, and requests that are
 * reported up to two minutes late and so arrive out of order. Request `i` is a function of the seed and `i` alone:
 * reading can begin anywhere and gives what reading from the start would have given.
 */
export class GeneratorSource implements EventSource {
  readonly description: string
  readonly details: readonly string[] = []
  readonly start: SourcePosition = { events: 0, skippedLines: 0 }
  readonly disorderMs = LONGEST_DELAY_MS
  readonly #options: GeneratorOptions

  constructor(options: GeneratorOptions) {
    this.#options = options
    this.description = `${options.events.toLocaleString('en-US')} generated requests (seed ${options.seed})`
  }

  async *batches(from: SourcePosition, size: number): AsyncGenerator<Batch> {
    const { seed, events: total } = this.#options
    for (let first = from.events; first < total; first += size) {
      const end = Math.min(first + size, total)
      const events: LlmRequest[] = []
      const ends: SourcePosition[] = []
      for (let index = first; index < end; index++) {
        events.push(requestAt(seed, index, total))
        ends.push({ events: index + 1, skippedLines: 0 })
      }
      yield { events, ends, end: { events: end, skippedLines: 0 } }
    }
  }

  fractionAt(position: SourcePosition): number {
    return position.events / this.#options.events
  }
}

function requestAt(seed: number, index: number, total: number): LlmRequest {
  const random = randomOf(seed, index)
  // Powers of a uniform number crowd towards 0: the first models and tenants get most of the traffic.
  const model = models[Math.floor(models.length * random() ** 1.5)] as string
  const tenant = tenants[Math.floor(TENANTS * random() ** 3)] as string
  const tokensIn = Math.floor(20 + 12_000 * random() ** 4)
  const tokensOut = Math.floor(1 + 2_000 * random() ** 3)
  const delayMs = LONGEST_DELAY_MS * random() ** 6
  return {
    timestampMs: Math.floor(START_MS + SPAN_MS * rush(index / total) - delayMs),
    model,
    tenant,
    tokensIn,
    tokensOut,
    costUsd: costUsdOf(model, tokensIn, tokensOut),
    latencyMs: Math.round(150 + tokensIn * 0.02 + tokensOut * (8 + 12 * random())),
  }
}

/** Maps the share of requests to the share of time: steps are three times as dense in the middle as at the ends. */
function rush(share: number): number {
  const fromMiddle = 2 * share - 1
  return 0.5 + 0.5 * (0.5 * fromMiddle + 0.5 * fromMiddle ** 3)
}

/** The random numbers of one request. */
function randomOf(seed: number, index: number): () => number {
  return randomFrom(Math.imul(seed ^ 0x9e3779b9, 0x85ebca6b) ^ Math.imul(index + 1, 0xc2b2ae35))
}
