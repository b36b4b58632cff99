// How the jobs of the process are doing, every second.

import { useEffect, useRef, useState } from 'preact/hooks'
import { ask, type Backend, type Coordinator, type Job, type Live, messageOf } from './api.js'
import { bytes, count, duration, inline, shortId, time } from './format.js'
import { Bar, Empty, Figure, Loading, Panel, Problem } from './parts.js'
import { Plot } from './plot.js'

const EVERY_MS = 1_000
/** Five minutes. */
const KEPT = 300

export function LiveView() {
  const [history, setHistory] = useState<readonly Live[]>([])
  const [error, setError] = useState<string | undefined>()
  const isPaused = useRef(false)
  const [paused, setPaused] = useState(false)
  isPaused.current = paused
  useEffect(() => {
    const stop = new AbortController()
    let timer: ReturnType<typeof setTimeout> | undefined
    const poll = async () => {
      if (!isPaused.current && !document.hidden) {
        try {
          const live = await ask<Live>('live', {}, stop.signal)
          setHistory((before) => [...before.slice(1 - KEPT), live])
          setError(undefined)
        } catch (failure) {
          if (stop.signal.aborted) return
          setError(messageOf(failure))
        }
      }
      timer = setTimeout(() => void poll(), EVERY_MS)
    }
    void poll()
    return () => {
      stop.abort()
      clearTimeout(timer)
    }
  }, [])
  const now = history.at(-1)
  if (now === undefined) {
    return error === undefined ? <Loading what="Asking the process" /> : <Problem>{error}</Problem>
  }
  const x = history.map(({ nowMs }) => nowMs / 1_000)
  const delay = now.eventLoopDelayMs
  return (
    <>
      {error === undefined ? null : <Problem>{error}</Problem>}
      <p class="toolbar">
        <span class={paused || error !== undefined ? 'dot off' : 'dot'} aria-hidden="true" />
        <span>{paused ? 'Stopped' : `As of ${time(now.nowMs)} UTC`}</span>
        <button type="button" class="quiet" onClick={() => setPaused(!paused)}>
          {paused ? 'Go on' : 'Hold'}
        </button>
      </p>
      {Object.keys({ ...now.jobs, ...now.coordinators, ...now.backends }).length === 0 ? (
        <Empty>No job, coordinator or backend was given to the inspector.</Empty>
      ) : null}
      {Object.entries(now.jobs).map(([name, job]) => (
        <JobPanel key={name} name={name} job={job} history={history} x={x} nowMs={now.nowMs} />
      ))}
      {Object.entries(now.coordinators).map(([name, coordinator]) => (
        <CoordinatorPanel key={name} name={name} coordinator={coordinator} nowMs={now.nowMs} />
      ))}
      {Object.entries(now.backends).map(([name, backend]) => (
        <BackendPanel key={name} name={name} backend={backend} before={history.at(-2)} now={now} />
      ))}
      <Panel
        title="Event loop"
        note={`median ${ms(delay.median)}, 99 % below ${ms(delay.p99)}, at most ${ms(delay.max)}`}
      >
        <Plot
          title="Delay"
          x={x}
          isTime
          lines={[
            { label: 'at most', color: '--warm', values: history.map((live) => live.eventLoopDelayMs.max) },
            {
              label: '99 % below',
              color: '--accent',
              values: history.map((live) => live.eventLoopDelayMs.p99),
            },
          ]}
          format={duration}
        />
      </Panel>
    </>
  )
}

const ms = (value: number | null): string => (value === null ? '–' : duration(value))

/** How much a counter has grown a second, from each reading to the next. */
function rates(history: readonly Live[], read: (live: Live) => number | undefined): (number | null)[] {
  return history.map((live, i) => {
    const before = history[i - 1]
    const [was, is] = [before && read(before), read(live)]
    if (before === undefined || was === undefined || is === undefined) return null
    return Math.max(0, ((is - was) * 1_000) / Math.max(1, live.nowMs - before.nowMs))
  })
}

function JobPanel(props: {
  readonly name: string
  readonly job: Job
  readonly history: readonly Live[]
  readonly x: readonly number[]
  readonly nowMs: number
}) {
  const { name, job, history, x, nowMs } = props
  if (job.gone !== undefined) return <Problem>{`job ${name}: ${job.gone}`}</Problem>
  const events = rates(history, (live) => live.jobs[name]?.events)
  const outputs = rates(history, (live) => live.jobs[name]?.outputs)
  const { watermarkMs } = job
  return (
    <Panel
      title={`Job ${name}`}
      note={
        <span class={`tag ${job.isHealthy ? (job.isReady ? 'good' : 'warm') : 'bad'}`}>{stateOf(job)}</span>
      }
    >
      {job.error === null ? null : <Problem>{job.error}</Problem>}
      {job.stalled === null ? null : (
        <Problem>{`${job.stalled.call} has taken ${duration(job.stalled.forMs)}`}</Problem>
      )}
      {job.failedCuts === null ? null : (
        <Problem>
          {job.failedCuts.count === 1 ? '1 cut has' : `${count(job.failedCuts.count)} cuts have`} failed:{' '}
          {job.failedCuts.error}
        </Problem>
      )}
      <dl class="figures">
        <Figure name="events a second" value={count(Math.round(events.at(-1) ?? 0))} />
        <Figure name="events" value={count(job.events)} />
        <Figure name="outputs" value={count(job.outputs)} />
        <Figure
          name="behind the clock"
          value={job.behindMs === null ? '–' : duration(Math.max(0, job.behindMs))}
        />
        <Figure
          name="watermark behind"
          value={watermarkMs === null ? '–' : duration(Math.max(0, nowMs - watermarkMs))}
          title={watermarkMs === null ? '' : `${time(watermarkMs)} UTC`}
        />
        <Figure name="open windows" value={count(job.openWindows)} />
        <Figure name="timers waiting" value={count(job.waitingTimers)} />
        <Figure name="timers due" value={count(dueOf(job))} />
        <Figure name="timers fired" value={count(job.firedTimers)} />
        <Figure name="late" value={count(job.lateEvents)} tone={job.lateEvents > 0 ? 'bad' : undefined} />
        <Figure name="bad" value={count(job.badEvents)} tone={job.badEvents > 0 ? 'bad' : undefined} />
        <Figure name="cuts" value={count(job.cuts)} />
        <Figure name="since the last cut" value={duration(job.sinceCutMs)} />
      </dl>
      <div class="plots">
        <Plot
          title="A second"
          x={x}
          isTime
          lines={[
            { label: 'events', color: '--accent', values: events },
            { label: 'outputs', color: '--second', values: outputs },
          ]}
          format={(value) => count(Math.round(value))}
        />
        <Plot
          title="Behind the clock"
          x={x}
          isTime
          lines={[
            {
              label: 'newest event',
              color: '--accent',
              values: history.map((live) => live.jobs[name]?.behindMs ?? null),
            },
            {
              label: 'watermark',
              color: '--warm',
              values: history.map((live) => {
                const watermark = live.jobs[name]?.watermarkMs ?? null
                return watermark === null ? null : Math.max(0, live.nowMs - watermark)
              }),
            },
          ]}
          format={duration}
        />
        {isWaiting(history, name) ? (
          <Plot
            title="What waits for its time"
            x={x}
            isTime
            lines={[
              {
                label: 'open windows',
                color: '--accent',
                values: history.map((live) => live.jobs[name]?.openWindows ?? null),
              },
              {
                label: 'timers',
                color: '--warm',
                values: history.map((live) => live.jobs[name]?.waitingTimers ?? null),
              },
            ]}
            format={(value) => count(Math.round(value))}
          />
        ) : null}
      </div>
      <Partitions job={job} nowMs={nowMs} />
      <OpenWindows job={job} />
      <Stages job={job} />
    </Panel>
  )
}

const stateOf = ({ state, isReady, isHealthy }: Job): string =>
  state === 'running' ? (isHealthy ? (isReady ? 'running' : 'being restored') : 'running, in trouble') : state

const stagesOf = (job: Job) => Object.entries(job.stages)

const dueOf = (job: Job): number =>
  [job.timers, ...stagesOf(job).map(([, { timers }]) => timers)].reduce(
    (sum, { event, processing }) => sum + event.due + processing.due,
    0,
  )

/** Whether the job has had an open window or a timer as long as anybody has looked. */
const isWaiting = (history: readonly Live[], name: string): boolean =>
  history.some(({ jobs }) => (jobs[name]?.openWindows ?? 0) + (jobs[name]?.waitingTimers ?? 0) > 0)

/** How many windows are open of each kind, and at which time the next result is due. */
function OpenWindows({ job }: { readonly job: Job }) {
  const all = Object.entries(job.windows)
  if (all.length === 0) return null
  const most = Math.max(1, ...all.map(([, { open }]) => open))
  return (
    <div class="scroll">
      <table>
        <thead>
          <tr>
            <th>Windows</th>
            <th class="number">Open</th>
            <th class="bar-cell" />
            <th>Next due at</th>
          </tr>
        </thead>
        <tbody>
          {all.map(([name, { open, nextMs }]) => (
            <tr key={name}>
              <td>
                <code>{inline(name)}</code>
              </td>
              <td class="number">{count(open)}</td>
              <td class="bar-cell">
                <Bar share={open / most} />
              </td>
              <td class="nowrap time">{timeOr(nextMs)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  )
}

const timeOr = (atMs: number | null): string => (atMs === null ? '–' : `${time(atMs)} UTC`)

/** Events and timers of each stage; of a job of one stage without timers, the figures above say all. */
function Stages({ job }: { readonly job: Job }) {
  const later = stagesOf(job)
  if (later.length === 0 && job.waitingTimers === 0 && job.firedTimers === 0) return null
  const first = { events: job.events, badEvents: job.badEvents, timers: job.timers }
  return (
    <div class="scroll">
      <table>
        <thead>
          <tr>
            <th>Stage</th>
            <th class="number">Events</th>
            <th class="number">Bad</th>
            <th class="number">Timers</th>
            <th class="number">Due</th>
            <th class="moment">Next by the watermark</th>
            <th>Next by the clock</th>
          </tr>
        </thead>
        <tbody>
          {[['first', first] as const, ...later].map(([name, { events, badEvents, timers }], i) => (
            <tr key={`${i} ${name}`}>
              <td>{i === 0 ? <span class="note">{name}</span> : <code>{inline(name)}</code>}</td>
              <td class="number">{count(events)}</td>
              <td class="number">{count(badEvents)}</td>
              <td class="number">{count(timers.event.waiting + timers.processing.waiting)}</td>
              <td class="number">{count(timers.event.due + timers.processing.due)}</td>
              <td class="moment nowrap time">{timeOr(timers.event.nextMs)}</td>
              <td class="nowrap time">{timeOr(timers.processing.nextMs)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  )
}

/** The watermark of the job is that of the partition which is least far: it holds back all others. */
function Partitions({ job, nowMs }: { readonly job: Job; readonly nowMs: number }) {
  const all = Object.entries(job.partitions)
  if (all.length === 0) return null
  const counted = all.filter(([, { isIdle, hasEnded }]) => !isIdle && !hasEnded)
  const marks = counted.flatMap(([, { watermarkMs }]) => (watermarkMs === null ? [] : [watermarkMs]))
  const waits = counted.filter(([, { watermarkMs }]) => watermarkMs === null).map(([id]) => id)
  const least = Math.min(...marks)
  const mostBehind = Math.max(1, ...marks.map((mark) => nowMs - mark))
  const hasEventTime = all.some(([, { highestMs }]) => highestMs !== null)
  return (
    <div class="scroll">
      <table>
        <thead>
          <tr>
            <th>Partition</th>
            <th>Position</th>
            {hasEventTime ? (
              <>
                <th class="number">Newest event behind</th>
                <th class="number">Watermark behind</th>
                <th class="bar-cell wide-only" />
                <th />
              </>
            ) : null}
          </tr>
        </thead>
        <tbody>
          {all.map(([id, { position, highestMs, watermarkMs, isIdle, hasEnded }]) => {
            const isCounted = !isIdle && !hasEnded
            const holds =
              isCounted &&
              (waits.length > 0 ? waits.includes(id) : counted.length > 1 && watermarkMs === least)
            return (
              <tr key={id}>
                <td>
                  <code>{inline(id)}</code>
                </td>
                <td class="key">
                  <code>{inline(position)}</code>
                </td>
                {hasEventTime ? (
                  <>
                    <td class="number">
                      {highestMs === null ? '–' : duration(Math.max(0, nowMs - highestMs))}
                    </td>
                    <td class="number">
                      {watermarkMs === null ? '–' : duration(Math.max(0, nowMs - watermarkMs))}
                    </td>
                    <td class="bar-cell wide-only">
                      <Bar
                        share={watermarkMs === null ? 0 : (nowMs - watermarkMs) / mostBehind}
                        {...(holds ? { tone: 'warm' as const } : {})}
                      />
                    </td>
                    <td>
                      {hasEnded ? <span class="tag">ended</span> : null}
                      {isIdle && !hasEnded ? <span class="tag">idle</span> : null}
                      {holds ? <span class="tag warm">holds back</span> : null}
                    </td>
                  </>
                ) : null}
              </tr>
            )
          })}
        </tbody>
      </table>
    </div>
  )
}

function CoordinatorPanel(props: {
  readonly name: string
  readonly coordinator: Coordinator
  readonly nowMs: number
}) {
  const { name, coordinator, nowMs } = props
  if (coordinator.gone !== undefined) return <Problem>{`coordinator ${name}: ${coordinator.gone}`}</Problem>
  const { events } = coordinator
  const made = events.filter(({ what }) => what === 'checkpoint')
  const failures = events.filter(({ error }) => error !== undefined).slice(-5)
  return (
    <Panel
      title={`Checkpoints of ${name}`}
      note={
        <span class={`tag ${coordinator.running || coordinator.merging ? 'warm' : 'good'}`}>
          {coordinator.running ? 'one is being made' : coordinator.merging ? 'merging' : 'at rest'}
        </span>
      }
    >
      <dl class="figures">
        <Figure name="published" value={count(coordinator.created)} />
        <Figure
          name="failed"
          value={count(coordinator.failed)}
          tone={coordinator.failed > 0 ? 'bad' : undefined}
        />
        <Figure
          name="last good one"
          value={
            coordinator.lastSuccessAtMs === null
              ? 'none yet'
              : `${duration(Math.max(0, nowMs - coordinator.lastSuccessAtMs))} ago`
          }
        />
        <Figure name="it took" value={maybe(coordinator.lastDurationMs, duration)} />
        <Figure name="its cut" value={maybe(coordinator.lastCutMs, duration)} />
        <Figure name="size" value={maybe(coordinator.lastSizeBytes, bytes)} />
        <Figure name="deltas in the chain" value={count(coordinator.chainDeltas)} />
        <Figure name="merges" value={count(coordinator.merges)} />
      </dl>
      {made.length < 2 ? null : (
        <div class="plots">
          <Plot
            title="How long each took"
            x={made.map((_, i) => i + 1)}
            nameOfX={(i) => `checkpoint ${shortId(made[i - 1]?.id ?? '')}`}
            nameOfTick={(i) => shortId(made[i - 1]?.id ?? '')}
            lines={[
              { label: 'took', color: '--accent', values: made.map(({ durationMs = 0 }) => durationMs) },
            ]}
            format={duration}
            isBars
          />
          <Plot
            title="Bytes written for each"
            x={made.map((_, i) => i + 1)}
            nameOfX={(i) => `checkpoint ${shortId(made[i - 1]?.id ?? '')}`}
            nameOfTick={(i) => shortId(made[i - 1]?.id ?? '')}
            lines={[
              { label: 'written', color: '--second', values: made.map(({ bytes: written = 0 }) => written) },
            ]}
            format={bytes}
            isBytes
            isBars
          />
        </div>
      )}
      {failures.map(({ atMs, error }) => (
        <Problem key={atMs}>{`${time(atMs)}: ${error}`}</Problem>
      ))}
    </Panel>
  )
}

const maybe = (value: number | undefined, format: (value: number) => string): string =>
  value === undefined ? '–' : format(value)

function BackendPanel(props: {
  readonly name: string
  readonly backend: Backend
  readonly before: Live | undefined
  readonly now: Live
}) {
  const { name, backend, before, now } = props
  if (backend.gone !== undefined) return <Problem>{`backend ${name}: ${backend.gone}`}</Problem>
  const was = before?.backends[name]
  const spanMs = Math.max(1, now.nowMs - (before?.nowMs ?? now.nowMs - 1))
  const rate = (read: (of: Backend) => number): string =>
    was === undefined ? '–' : count(Math.round(((read(backend) - read(was)) * 1_000) / spanMs))
  return (
    <Panel title={`Backend ${name}`}>
      <dl class="figures">
        <Figure name="entries" value={count(backend.entries)} />
        <Figure name="gets a second" value={rate(({ gets }) => gets)} />
        <Figure name="puts a second" value={rate(({ puts }) => puts)} />
        <Figure name="deletes a second" value={rate(({ deletes }) => deletes)} />
        <Figure name="expired" value={count(backend.expired)} />
        <Figure name="written" value={bytes(backend.bytesWritten)} />
        <Figure name="snapshots open" value={count(backend.openSnapshots)} />
      </dl>
    </Panel>
  )
}
