// Reads stores of known content (`contentAfter(STEPS)`) in every way and says what came of each: one store per argument. LMDB
// trusts what it maps, so a damaged one may end this process.

import { isStateError } from '../../../src/base/errors.js'
import { LmdbStateBackend } from '../../../src/lmdb/lmdb-state-backend.js'
import { contentAfter } from './lmdb-plan.js'
import { sayLine } from './say-line.js'

const [steps, ...paths] = process.argv.slice(2) as [string, ...string[]]
const expected = contentAfter(Number(steps))
const say = (...words: readonly string[]) => sayLine(words.join(' '))
/** Tells a value that is wrong from one that is missing, which only a whole reading of the store can find. */
const outcomes = { right: 'right', missing: 'missing', wrong: 'WRONG' } as const

function judge(key: string, value: Uint8Array | undefined): string {
  if (value === undefined) return expected.has(key) ? outcomes.missing : outcomes.right
  return Buffer.from(value).toString() === expected.get(key) ? outcomes.right : outcomes.wrong
}

/** What a call comes to: its own word, or the code of its error. */
async function attempt(call: () => Promise<string> | string): Promise<string> {
  try {
    return await call()
  } catch (error) {
    return isStateError(error) ? error.code : `untyped: ${String(error).split('\n')[0]}`.replaceAll(' ', '_')
  }
}

for (const path of paths) {
  say('reading', path)
  const outcome = new Set<string>()
  const opened = await attempt(async () => {
    const backend = await LmdbStateBackend.open({ path, readOnly: true })
    for (const key of expected.keys()) {
      outcome.add(await attempt(() => judge(key, backend.getSync(Buffer.from(key)))))
    }
    outcome.add(
      await attempt(() => {
        let found = 0
        for (const [key, value] of backend.scanSync()) {
          found++
          if (judge(Buffer.from(key).toString(), value) !== outcomes.right) return outcomes.wrong
        }
        return found === expected.size ? outcomes.right : outcomes.missing
      }),
    )
    await backend.close()
    return outcomes.right
  })
  outcome.add(opened)
  say('read', path, [...outcome].sort().join(','))
}
