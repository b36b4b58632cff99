// What a job reads from. A source has partitions; each has an order of its own, and positions to go on from.

import type { JsonValue } from '../../base/json.js'

/** Where to go on in a partition: JSON whose meaning only its source knows. */
export type Position = JsonValue

/** Positions by partition. */
export interface Positions {
  readonly [partition: string]: Position
}

/** Where a source goes on, and what it may ask while it is opened. */
export interface OpenSourceOptions {
  /**
   * Behind the last event that counts, of each partition that was read before. A partition that is not named here is read from its
   * beginning, wherever the source says that is.
   */
  readonly positions: Positions
  /** As that of `OpenSinkOptions`, for a source that belongs to whoever opened it last. */
  readonly checkOwner?: () => Promise<void>
  /** Gives up opening: the call rejects soon, and leaves nothing open. */
  readonly signal?: AbortSignal
}

/** Events come from it, again and again from where one stopped. */
export interface Source<Event> {
  /** For messages and figures. */
  readonly name: string
  /**
   * Says that opening it, and closing it unread, leaves no trace anywhere. A job then opens it while it restores its state, at the positions of
   * the cut that it restores; where that cut cannot be read after all, it closes that reader and opens another one. Default: it is opened once
   * the state was restored.
   */
  readonly opensAhead?: boolean
  /**
   * `RESTORE_FAILED` where a partition no longer has the position that is wanted, naming the partition, the position, and what there
   * is (J6): it never goes on elsewhere of its own accord.
   */
  open(options: OpenSourceOptions): Promise<SourceReader<Event>>
}

/** What a job wants of a source at the moment. */
export interface PollRequest {
  /** Most events in all that are wanted. */
  readonly maxEvents: number
  /** How long to wait for the first one, in milliseconds, where there is none: then the partitions that were polled are told without events. */
  readonly waitMs: number
  /** Partitions of which nothing is wanted now: they run ahead of the others. */
  readonly paused: ReadonlySet<string>
  /** Ends the wait: the call resolves with what there is. */
  readonly signal?: AbortSignal
}

/** What was read of one partition. A partition that was polled and had nothing is told with no events: it may be idle. */
export interface PolledEvents<Event> {
  readonly partition: string
  /** In the order of the partition. In the place of one that cannot be decoded there is anything: see `failures`. */
  readonly events: readonly Event[]
  /** Why events cannot be decoded, by their place in `events`: bad events (J7). */
  readonly failures?: ReadonlyMap<number, Error>
  /** Behind the event at that place: to go on with the next one. It stays valid after the next poll. */
  positionAfter(place: number): Position
  /**
   * Where the partition stands behind these events, where that is further than behind the last of them, or there is none: a cut is to have it. A
   * partition that is told with no events and no position had nothing.
   */
  readonly position?: Position
  /** The source itself says that no event with a timestamp up to this comes any more. */
  readonly watermarkMs?: number
  /** Nothing comes any more of this partition. */
  readonly hasEnded?: boolean
}

/** An open source. One `poll` at a time; the other calls may come meanwhile. */
export interface SourceReader<Event> {
  /** The partitions that are read here at the moment. One that was listed and is not any more was taken away: a job lets go of it (J10). */
  partitions(): readonly string[]
  /** The next events, of one or more partitions. After the end of every partition, nothing. */
  poll(request: PollRequest): Promise<readonly PolledEvents<Event>[]>
  /**
   * A cut with these positions is about to be published: a source that shares its events with others marks what is in it. Nothing is processed
   * meanwhile. Where it fails no cut is made. Also called where the cut fails for another reason afterwards. A source that has it needs a job with
   * `checkpoints` (`INCOMPATIBLE` otherwise): an engine that keeps its state itself makes it durable whenever it likes.
   */
  prepareCut?(positions: Positions): Promise<void>
  /** What is before these positions is in a checkpoint and is not asked for again: it may be acknowledged or removed. */
  checkpointCompleted?(positions: Positions): Promise<void>
  /** Idempotent. Ends a `poll` that is under way. */
  close(): Promise<void>
}
