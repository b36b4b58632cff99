// What is measured as it happens, by each exporter in its own histograms.

import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import type { DiagnosticEvents } from '../index.js'
import {
  callDuration,
  checkpointDuration,
  commitDuration,
  restoreDuration,
  type TimedInstrument,
} from './instruments.js'
import { coordinatorsOf, type MetricSources } from './sources.js'

/** Adds one time to a histogram. */
export type Observe = (seconds: number, labels: { [label: string]: string }) => void

/** Makes histograms for what the sources have, and fills them until what it returns is called. Where it throws, nothing is listened to. */
export function observeTimings(
  sources: MetricSources,
  histogramFor: (instrument: TimedInstrument) => Observe,
): () => void {
  const coordinators = Object.entries(coordinatorsOf(sources))
  const hasEngines = Object.keys({ ...sources.backends, ...sources.jobs }).length > 0
  const ofCoordinators =
    coordinators.length === 0
      ? undefined
      : { checkpoints: histogramFor(checkpointDuration), restores: histogramFor(restoreDuration) }
  const ofEngines = hasEngines
    ? { commits: histogramFor(commitDuration), calls: histogramFor(callDuration) }
    : undefined
  const stops: (() => void)[] = []
  if (ofCoordinators !== undefined) {
    const { checkpoints, restores } = ofCoordinators
    for (const [coordinator, source] of coordinators) {
      stops.push(
        source.on('completed', ({ durationMs }) => checkpoints(durationMs / 1_000, { coordinator })),
        source.on('restored', ({ durationMs }) => restores(durationMs / 1_000, { coordinator })),
      )
    }
  }
  if (ofEngines !== undefined) {
    const { commits, calls } = ofEngines
    stops.push(
      heard('holdfast:engine.commit', ({ backend: engine, durationMs }) =>
        commits(durationMs / 1_000, { engine }),
      ),
      heard('holdfast:engine.call', ({ backend: engine, call, durationMs }) =>
        calls(durationMs / 1_000, { engine, call }),
      ),
    )
  }
  return () => {
    for (const stop of stops.splice(0)) stop()
  }
}

function heard<Name extends keyof DiagnosticEvents>(
  name: Name,
  listen: (event: DiagnosticEvents[Name]) => void,
): () => void {
  const onMessage = (message: unknown) => listen(message as DiagnosticEvents[Name])
  subscribe(name, onMessage)
  return () => void unsubscribe(name, onMessage)
}
