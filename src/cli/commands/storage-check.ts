import { bucketAt } from '../../view/place.js'
import { UsageError } from '../../view/usage-error.js'
import type { CommandContext } from '../context.js'
import { ExitStatus } from '../outcome.js'

/** What an object store keeps of what fencing and verification need. One that cannot fence is a finding. */
export async function storageCheck({ terminal }: CommandContext, address: string): Promise<number> {
  if (!address.startsWith('s3://'))
    throw new UsageError(`${address} is no address of an object store: s3://bucket/prefix`)
  const { store, canFence, findings } = await (await bucketAt(address)).probe()
  if (terminal.json) {
    await terminal.object({ store, canFence, findings: findings.map((each) => ({ ...each })) })
  } else {
    for (const { question, kept, observed } of findings) {
      await terminal.line(
        `${kept ? terminal.style('green', 'kept    ') : terminal.style('red', 'NOT KEPT')} ${question}: ${observed}`,
      )
    }
    await terminal.line(
      canFence
        ? `${store} can fence: several processes may use it`
        : `${store} cannot fence: a coordinator refuses it, unless it is told that it is the only one (exclusive: true)`,
    )
  }
  return canFence ? ExitStatus.ok : ExitStatus.finding
}
