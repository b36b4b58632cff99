// Partitions of a topic that several processes share, as their consumer group divides them.
//
// (1) The group says who is to have a partition; the lease of its checkpoints says who has it (decision 50). The group does not wait for
//     who has to let go of one: whoever is given it waits for the lease.
// (2) What a partition is read from is its own cut. Offsets are committed to the group for whoever watches its lag.

import { isStateError, StateError } from '../../base/errors.js'
import { invalidArgument, rejectViolations, rules, violationsOf } from '../../base/options.js'
import type { GroupMember, PartitionGroup, PartitionOwner } from '../../job/partitions/partition-group.js'
import { withoutSecrets } from '../../remote/secrets.js'
import { type KafkaSourceOptions, kafkaSource } from './kafka-source.js'

export interface KafkaGroupOptions<Event>
  extends Omit<KafkaSourceOptions<Event>, 'partitions' | 'endsAtEnd'> {
  /**
   * How long the brokers wait for a member that is not heard of before they give its partitions to others, in milliseconds; they allow 6,000 and
   * more. Default 10,000.
   */
  readonly sessionTimeoutMs?: number
}

const DEFAULT_SESSION_TIMEOUT_MS = 10_000

/**
 * The consumer group `groupId` as what gives partitions to `runJobPerPartition`: each with its own state, which goes where the partition goes. A
 * partition that was never read begins where `from` says. It needs a client that joins groups: `kafkajsClient` does.
 *
 * @example
 * runJobPerPartition({ ...tokensPerModel, group: kafkaGroup({ client, topic: 'requests', groupId: 'tokens', decode }), place })
 */
export function kafkaGroup<Event>(options: KafkaGroupOptions<Event>): PartitionGroup<Event> {
  const { sessionTimeoutMs = DEFAULT_SESSION_TIMEOUT_MS, ...sourceOptions } = options ?? {}
  rejectViolations(violationsOf({ sessionTimeoutMs }, { sessionTimeoutMs: rules.positiveInteger }))
  // The options of each partition's source are checked here, not when it is given.
  kafkaSource(sourceOptions as KafkaSourceOptions<Event>)
  const { client, topic, groupId } = options
  const { joinGroup } = client
  if (joinGroup === undefined) throw invalidArgument('options.client', `cannot join a group: ${client.name}`)
  const join = async (owner: PartitionOwner<Event>): Promise<GroupMember> => {
    const had = new Set<number>()
    /** What the group has told, in order. */
    let telling: Promise<void> = Promise.resolve()
    const nameOf = (partition: number) => `${topic}-${partition}`
    const change = async (given: readonly number[], taken: readonly number[]) => {
      const revoking = owner.revoked(taken.map(nameOf))
      const sourceOf = (partition: number) =>
        kafkaSource<Event>({ ...sourceOptions, partitions: [partition] })
      void owner.assigned(given.map((each) => ({ partition: nameOf(each), source: sourceOf(each) })))
      await revoking
    }
    const tell = (partitions: readonly number[]) => {
      const taken = [...had].filter((each) => !partitions.includes(each))
      for (const each of taken) had.delete(each)
      for (const each of partitions) had.add(each)
      // All are told, also those that are here already: one of them may have been given up, as another member had it. What is given is not
      // waited for: the next change may come before it is restored.
      telling = telling.then(() => change(partitions, taken))
    }
    const failure = (operation: string, error: unknown) => {
      const cause = withoutSecrets(error)
      const details = { storage: `Kafka group ${groupId}`, operation, reason: cause.message }
      return new StateError('STORAGE_ERROR', details, { cause })
    }
    const joining = joinGroup.call(client, {
      groupId,
      topic,
      sessionTimeoutMs,
      onAssigned: tell,
      onFailure: (error) => owner.failed(failure('stay a member', error)),
    })
    const member = await joining.catch((error: unknown) => {
      throw isStateError(error) ? error : failure('join', error)
    })
    return {
      leave: async () => {
        await member.leave()
        await telling
      },
    }
  }
  return Object.freeze({ name: `Kafka group ${groupId}`, join })
}
