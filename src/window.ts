export { type Aggregate, type AnyAggregate, aggregateBy } from './window/aggregate/aggregate.js'
export type { BytesAggregate } from './window/aggregate/bytes-aggregate.js'
export { distinctCount, distinctValues } from './window/aggregate/distinct.js'
export { approximateDistinctCount } from './window/aggregate/hyper-log-log.js'
export { type QuantilesOptions, quantiles } from './window/aggregate/quantiles.js'
export type { FixedAggregate } from './window/aggregate/raw-aggregate.js'
export { combined, count, first, last, max, mean, min, sum, variance } from './window/aggregate/ready-made.js'
export { type TopNOptions, topN } from './window/aggregate/top-n.js'
export {
  type CumulativeOptions,
  cumulative,
  type HoppingOptions,
  hopping,
  type TimeWindow,
  type TumblingOptions,
  tumbling,
  type WindowAssigner,
} from './window/assign/assigner.js'
export {
  type CountWindows,
  countWindows,
  type GlobalWindows,
  globalWindows,
  type SessionWindows,
  type SlidingWindows,
  session,
  sliding,
} from './window/assign/by-key.js'
export { type CalendarOptions, calendar } from './window/assign/calendar.js'
export { type Deduplication, deduplication } from './window/join/deduplication.js'
export {
  type IntervalJoin,
  type IntervalJoinOptions,
  intervalJoin,
  type OnPair,
} from './window/join/interval-join.js'
export { type VersionedTable, versionedTable } from './window/join/versioned-table.js'
export {
  type JoinedGroup,
  type JoinedPair,
  type JoinKind,
  type JoinSide,
  type WindowGroupOptions,
  type WindowJoinOptions,
  windowJoin,
} from './window/join/window-join.js'
export { windowCodecOf } from './window/window-codec.js'
export {
  type LateEvent,
  type Pane,
  type WindowDefinition,
  type WindowOptions,
  type WindowResult,
  type Windows,
  windowed,
} from './window/windowed.js'
