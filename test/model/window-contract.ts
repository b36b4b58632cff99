// A random job as the library runs it, and as the oracle does: what is put out in each step, and how far the watermark is.

import { ascending, boundedDisorder, defineJob, type WatermarkStrategy, watermarksBy } from '../../src/job.js'
import { defineState, int32, int64, json, type KeyCodec, tuple, utf8 } from '../../src/state.js'
import { JobTest } from '../../src/testing.js'
import {
  calendar,
  countWindows,
  cumulative,
  globalWindows,
  hopping,
  session,
  sliding,
  tumbling,
  type WindowDefinition,
  type Windows,
  windowed,
} from '../../src/window.js'
import { punctuated, WatermarkOracle, type WatermarkRule } from './watermark-oracle.js'
import { KEYS, type KeyForm, type RandomJob, type Step } from './window-jobs.js'
import {
  type Expected,
  type ExpectedPeek,
  type ExpectedResult,
  inOrder,
  WindowOracle,
  type WindowRules,
} from './window-oracle.js'
import { type Reading, rounded, windowValues } from './window-values.js'

/** What one step has come to. */
export interface Taken {
  readonly step: Step['do'] | 'end'
  readonly watermarkMs: number
  /** What an event sets off at once comes before what it advances; the table has no order for it. */
  readonly atOnce: readonly Expected[]
  readonly fired: readonly Expected[]
  readonly peeked: readonly ExpectedPeek[]
}

type Key = string | number | readonly [string, number]

/** Keys in the order of their bytes (W16), which is not that of their UTF-16. */
const keyForms: {
  readonly [Form in KeyForm]: { readonly codec: KeyCodec<Key>; readonly keys: readonly Key[] }
} = {
  utf8: { codec: utf8 as unknown as KeyCodec<Key>, keys: ['a', '\uFF5E', '\u{1D4B3}'] },
  int64: { codec: int64 as unknown as KeyCodec<Key>, keys: [-100, -2, 3] },
  tuple: {
    codec: tuple(utf8, int32) as unknown as KeyCodec<Key>,
    keys: [
      ['', 5],
      ['a', -1],
      ['ab', 0],
    ],
  },
}

/** Runs it as the library does. `steps` of the oracle say how many outputs of each are set off at once. */
export async function takenByLibrary(job: RandomJob, oracle: readonly Taken[]): Promise<Taken[]> {
  const { keys } = keyForms[job.keys]
  const listed = job.areListed ? { partitions: job.partitions } : {}
  await using test = await JobTest.start(definitionOf(job), { startMs: job.startMs, ...listed })
  const taken: Taken[] = []
  const take = (step: Taken['step'], peeked: readonly ExpectedPeek[] = []) => {
    const outputs = test.takeOutputs()
    const split = oracle[taken.length]?.atOnce.length ?? 0
    const { watermarkMs } = test.stats()
    const atOnce = inAnyOrder(outputs.slice(0, split))
    taken.push({ step, watermarkMs, atOnce, fired: outputs.slice(split), peeked: inAnyOrder(peeked) })
  }
  const peek = () =>
    Object.entries(job.windows).flatMap(([name, { value }]) =>
      keys.flatMap((of, key) =>
        test.peek(name, of).map((shown) => ({
          of: name,
          key,
          window: { ...shown.window },
          value: rounded(shown.value, windowValues[value]?.digits),
        })),
      ),
    )
  for (const [id, step] of job.steps.entries()) {
    if (step.do === 'send') await test.sendTo(step.partition, readingOf(step, id))
    // A source that is polled in vain each millisecond: who is idle is known by its polls (T5).
    if (step.do === 'wait') for (let waited = 0; waited < step.ms; waited++) await test.advance(1)
    if (step.do === 'restart') await test.restart(step.ms)
    take(step.do, step.do === 'peek' ? peek() : [])
  }
  if (job.ends) {
    await test.end()
    take('end')
  }
  return taken
}

const readingOf = ({ key, value, at }: Step & { readonly do: 'send' }, id: number): Reading => ({
  id,
  key,
  value,
  at,
})

function definitionOf(job: RandomJob) {
  const { codec, keys } = keyForms[job.keys]
  const { rule, ...time } = job.time
  return defineJob<Reading, Expected>()({
    name: 'random windows',
    key: ({ key }) => keys[key] as Key,
    timestamp: ({ at }) => at,
    time: { watermarks: strategyOf(rule), ...time },
    schema: defineState({ key: codec, states: {} }),
    windows: Object.fromEntries(
      Object.entries(job.windows).map(([name, rules]) => [name, windowedBy(name, rules, keys)]),
    ),
    onBadEvent: 'skip',
  })
}

function strategyOf(rule: WatermarkRule): WatermarkStrategy {
  if (rule.kind === 'punctuated') return watermarksBy(punctuated)
  return rule.kind === 'bounded' ? boundedDisorder(rule.disorderMs) : ascending()
}

function windowsOf({ windows }: WindowRules): Windows {
  switch (windows.kind) {
    case 'tumbling':
      return tumbling(settingsOf(windows))
    case 'hopping':
      return hopping(settingsOf(windows))
    case 'cumulative':
      return cumulative(settingsOf(windows))
    case 'calendar':
      return calendar(settingsOf(windows))
    case 'session':
      return session(settingsOf(windows))
    case 'sliding':
      return sliding(settingsOf(windows))
    case 'count':
      return countWindows(settingsOf(windows))
    case 'global':
      return globalWindows()
  }
}

/** The name of their kind is no setting. */
function settingsOf<Spec extends { readonly kind: string }>(spec: Spec): Omit<Spec, 'kind'> {
  const { kind: _kind, ...settings } = spec
  return settings
}

function windowedBy(
  name: string,
  rules: WindowRules,
  keys: readonly Key[],
): WindowDefinition<Reading, Key, Expected> {
  const { aggregate, digits } = windowValues[rules.value] ?? {}
  const { latenessMs, earlyEveryEvents, isDiscarding, tellsLate, time } = rules
  const kept = {
    events: json<Reading>(),
    process: (events: Iterable<Reading>): unknown => Array.from(events, ({ id }) => id),
  }
  return windowed<Reading, Key, unknown, Expected>({
    windows: windowsOf(rules),
    time,
    ...(aggregate === undefined ? kept : { aggregate }),
    ...(latenessMs > 0 && { allowedLatenessMs: latenessMs }),
    ...(earlyEveryEvents !== undefined && { early: { everyEvents: earlyEveryEvents } }),
    ...(isDiscarding && { panes: 'discarding' }),
    output: ({ key, window, value, pane, replaces = [], isFull, timestampMs }) => ({
      of: name,
      key: keys.findIndex((each) => String(each) === String(key)),
      window: { ...window },
      value: rounded(value, digits),
      pane: { ...pane },
      replaces: [...replaces],
      isFull,
      timestampMs,
    }),
    ...(tellsLate && {
      onLate: ({ event, timestampMs, watermarkMs, missed, isLost }) => {
        const byStart = missed.toSorted((a, b) => a.startMs - b.startMs || a.endMs - b.endMs)
        return { of: name, lateId: event.id, timestampMs, watermarkMs, missed: byStart, isLost }
      },
    }),
  })
}

/** Runs it by the table alone. */
export function takenByOracle(job: RandomJob): Taken[] {
  const run = new OracleRun(job)
  const taken = job.steps.map((step, id) => run.take(step, id))
  return job.ends ? [...taken, run.end()] : taken
}

class OracleRun {
  readonly #job: RandomJob
  readonly #clock: WatermarkOracle
  readonly #windows: readonly { readonly oracle: WindowOracle; readonly rules: WindowRules }[]
  #nowMs: number
  #atOnce: Expected[] = []
  #fired: ExpectedResult[] = []

  constructor(job: RandomJob) {
    this.#job = job
    this.#nowMs = job.startMs
    this.#clock = new WatermarkOracle(job.time, job.areListed ? job.partitions : [])
    this.#windows = Object.entries(job.windows).map(([name, rules]) => ({
      oracle: new WindowOracle(name, rules),
      rules,
    }))
  }

  take(step: Step, id: number): Taken {
    if (step.do === 'send') this.#send(step, id)
    if (step.do === 'wait') this.#wait(step.ms)
    if (step.do === 'restart') this.#restart(step.ms)
    return this.#taken(step.do, step.do === 'peek' ? this.#peek() : [])
  }

  end(): Taken {
    for (const _ of this.#clock.end()) this.#advance()
    return this.#taken('end')
  }

  #send(step: Step & { readonly do: 'send' }, place: number): void {
    const { partition, key, at } = step
    if (!this.#clock.event(partition, at, this.#nowMs)) return
    const reading = readingOf(step, place)
    for (const { oracle, rules } of this.#windows) {
      const timestampMs = rules.time === 'event' ? at : this.#nowMs
      this.#atOnce.push(...oracle.add(key, { reading, timestampMs, place }))
    }
    this.#advance()
  }

  #wait(ms: number): void {
    this.#clock.polledInVain(this.#nowMs)
    for (let waited = 0; waited < ms; waited++) {
      this.#nowMs++
      this.#advance()
      for (const _ of this.#clock.becomeIdle(this.#nowMs)) this.#advance()
    }
  }

  /** What came due in between fires at once (R5). */
  #restart(afterMs: number): void {
    this.#clock.restart()
    this.#nowMs += afterMs
    this.#advance()
  }

  #advance(): void {
    const { watermarkMs } = this.#clock
    const results = this.#windows.flatMap(({ oracle, rules }) => {
      // By the clock a window fires when that has come to its end (W7), and with the source (T8).
      const isByClock = rules.time === 'processing' && watermarkMs < Infinity
      return oracle.advance(isByClock ? this.#nowMs - 1 : watermarkMs)
    })
    this.#fired.push(...inOrder(results, Object.keys(this.#job.windows)))
  }

  #peek(): ExpectedPeek[] {
    const keys = Array.from({ length: KEYS }, (_, key) => key)
    return this.#windows.flatMap(({ oracle }) => keys.flatMap((key) => oracle.peek(key)))
  }

  #taken(step: Taken['step'], peeked: readonly ExpectedPeek[] = []): Taken {
    const { watermarkMs } = this.#clock
    const atOnce = inAnyOrder(this.#atOnce)
    const taken = { step, watermarkMs, atOnce, fired: this.#fired, peeked: inAnyOrder(peeked) }
    this.#atOnce = []
    this.#fired = []
    return taken
  }
}

function inAnyOrder<Each>(all: readonly Each[]): Each[] {
  const text = (each: Each) => JSON.stringify(Object.entries(each as object).sort())
  return all.toSorted((a, b) => (text(a) < text(b) ? -1 : 1))
}
