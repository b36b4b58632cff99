// Partitions that several processes share: a group gives them to its members, and takes them away again.

import type { Source } from '../source/source.js'

/** A partition that is given, and where its events come from. */
export interface AssignedPartition<Event> {
  /** Names the partition in the whole group, and for ever: its state is kept under this name. */
  readonly partition: string
  /** The events of this partition alone: its reader has no other one. Opened with the position that the partition's own cut has. */
  readonly source: Source<Event>
}

/** How long a member may take to let go of partitions. */
export interface RevokeOptions {
  /** After so long the group gives them away whatever comes: what does not end until then is given up. Default: as long as it takes. */
  readonly timeoutMs?: number
}

/**
 * What a group tells its member. The calls may come at any time, also in the middle of a checkpoint, and before `join` has resolved; of one
 * partition they are carried out one after the other. None of them rejects: what fails ends the job.
 */
export interface PartitionOwner<Event> {
  /** These are ours from now on. Resolves when the state of each was restored and its events are read. */
  assigned(partitions: readonly AssignedPartition<Event>[]): Promise<void>
  /**
   * These are to be given back: a last cut of each is made, committed and acknowledged, its state is let go of. Only when this has resolved
   * may somebody else begin with them.
   */
  revoked(partitions: readonly string[], options?: RevokeOptions): Promise<void>
  /**
   * These are somebody else's already, because this member was taken for dead: nothing more of them is put out, no cut is made, nothing is
   * acknowledged. Resolves when their state was let go of.
   */
  lost(partitions: readonly string[]): Promise<void>
  /** There is no group any more that could give anything: the job fails. */
  failed(error: Error): void
}

/** This process as a member of the group. */
export interface GroupMember {
  /**
   * Leaves the group, so that others are given what this member had. Called once, when all of that was let go of; `revoked` need not be called
   * for it.
   */
  leave(): Promise<void>
}

/** A group of processes that share the partitions of a source, such as a consumer group of Kafka. */
export interface PartitionGroup<Event> {
  /** For messages and figures. */
  readonly name: string
  /** Becomes a member. It does not wait for `assigned`, which restores states. */
  join(owner: PartitionOwner<Event>): Promise<GroupMember>
}
