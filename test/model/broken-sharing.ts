// The reference model with one promise broken each about snapshots that another thread reads.

import type { ModelSnapshot } from '../../src/testing/model-snapshot.js'
import { ModelStateBackend } from '../../src/testing/model-state-backend.js'
import type { SharedModelContent } from '../../src/testing/shared-model-snapshot.js'
import type { BrokenBackend } from './broken-backends.js'

export const brokenSharing: readonly BrokenBackend[] = [
  {
    does: 'shares later writes',
    caughtBy: 'snapshots for other threads',
    Backend: class extends ModelStateBackend {
      override snapshotSync(): ModelSnapshot {
        const snapshot = super.snapshotSync()
        const share = snapshot.share.bind(snapshot)
        snapshot.share = (since) => {
          const shared = share(since)
          const readLater = () => super.snapshotSync().share()?.data
          return (
            shared && {
              ...shared,
              get data() {
                return readLater()
              },
            }
          )
        }
        return snapshot
      }
    },
  },
  {
    does: 'forgets what was deleted among what has changed',
    caughtBy: 'snapshots for other threads',
    Backend: class extends ModelStateBackend {
      override snapshotSync(): ModelSnapshot {
        const snapshot = super.snapshotSync()
        const share = snapshot.share.bind(snapshot)
        snapshot.share = (since) => {
          const shared = share(since)
          const data = shared?.data as SharedModelContent
          const entries = data?.entries.filter(({ value }) => value !== undefined)
          return shared && { ...shared, data: { ...data, entries } }
        }
        return snapshot
      }
    },
  },
  {
    does: 'still knows a base after a clear',
    caughtBy: 'snapshots for other threads',
    Backend: class extends ModelStateBackend {
      override snapshotSync(): ModelSnapshot {
        const snapshot = super.snapshotSync()
        const share = snapshot.share.bind(snapshot)
        snapshot.share = (since) => share(since) ?? share()
        return snapshot
      }
    },
  },
]
