// The reference model with one promise broken each about snapshots that another thread reads.

import type { LocalSnapshot } from '../../src/backend/facade/local-snapshot.js'
import type { SnapshotOptions } from '../../src/backend/state-snapshot.js'
import { ModelStateBackend } from '../../src/testing/model-state-backend.js'
import type { SharedModelContent } from '../../src/testing/shared-model-snapshot.js'
import type { BrokenBackend } from './broken-backends.js'

type Share = NonNullable<LocalSnapshot['share']>

/** A backend whose snapshots share as `alter` says; `later` takes a snapshot of the present, which shares as it should. */
function sharing(does: string, alter: (share: Share, later: () => LocalSnapshot) => Share): BrokenBackend {
  const Backend = class extends ModelStateBackend {
    override snapshotSync(options?: SnapshotOptions): LocalSnapshot {
      const snapshot = super.snapshotSync(options)
      const { share } = snapshot
      if (share !== undefined) snapshot.share = alter(share, () => super.snapshotSync())
      return snapshot
    }
  }
  return { does, caughtBy: 'snapshots for other threads', Backend }
}

export const brokenSharing: readonly BrokenBackend[] = [
  sharing('shares later writes', (share, later) => (what) => {
    const shared = share(what)
    return (
      shared && {
        ...shared,
        get data() {
          return later().share?.()?.data
        },
      }
    )
  }),
  sharing('forgets what was deleted among what has changed', (share) => (what) => {
    const shared = share(what)
    const data = shared?.data as SharedModelContent
    const entries = data?.entries.filter(({ value }) => value !== undefined)
    return shared && { ...shared, data: { ...data, entries } }
  }),
]
