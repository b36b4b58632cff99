// The same visits by windows: what is merged when views come late is not the job's work.

import { boundedDisorder, defineJob } from 'holdfast/job'
import { defineState, int64, utf8 } from 'holdfast/state'
import { combined, count, last, session, type WindowResult, windowed } from 'holdfast/window'
import { GAP_MS, type PageView, type Visit } from './sessions.js'

const MINUTE_MS = 60_000

interface Seen {
  readonly pages: number
  readonly to: number
}

export const sessionWindows = defineJob<PageView, Visit>()({
  name: 'session windows',
  key: ({ user }) => user,
  timestamp: ({ at }) => at,
  time: { watermarks: boundedDisorder(MINUTE_MS) },
  schema: defineState({ key: utf8, states: {} }),
  windows: {
    visits: windowed({
      windows: session({ gapMs: GAP_MS }),
      aggregate: combined({ pages: count(), to: last(int64, ({ at }: PageView) => at) }),
      output: ({ key, window, value }: WindowResult<string, Seen>): Visit => ({
        user: key,
        from: window.startMs,
        ...value,
      }),
    }),
  },
})
