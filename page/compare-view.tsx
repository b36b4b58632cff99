// What differs between two checkpoints.

import { type Checkpoint, type Diff, type Difference, useAsked, usePinned } from './api.js'
import { count, inline, shortId } from './format.js'
import { Bar, CheckpointChoice, Empty, Loading, Panel, Problem } from './parts.js'
import { type Route, refine } from './router.js'

const SIGNS = { added: '+', removed: '−', changed: '~' } as const

export function CompareView(props: {
  readonly place: string
  readonly listed: readonly Checkpoint[]
  readonly query: Route['query']
}) {
  const { place, listed, query } = props
  const [newest, former] = [usePinned(place, listed), usePinned(place, listed, 1)]
  const b = query['b'] ?? newest
  const a = query['a'] ?? former
  const { state = '' } = query
  const canCompare = a !== undefined && b !== undefined
  const { answer, error, isLoading } = useAsked<Diff>(canCompare ? 'diff' : undefined, { place, a, b, state })
  if (!canCompare) return <Empty>There have to be two checkpoints to compare.</Empty>
  const most = Math.max(1, ...(answer?.counts ?? []).map((each) => each.added + each.removed + each.changed))
  return (
    <>
      <form class="filters" onSubmit={(event) => event.preventDefault()}>
        <CheckpointChoice label="From" listed={listed} value={a} onChange={(id) => refine({ a: id })} />
        <CheckpointChoice label="To" listed={listed} value={b} onChange={(id) => refine({ b: id })} />
        <button type="button" class="quiet" onClick={() => refine({ a: b, b: a })}>
          Swap
        </button>
        {state === '' ? null : (
          <button type="button" class="quiet" onClick={() => refine({ state: '' })}>
            All states
          </button>
        )}
      </form>
      {error === undefined ? null : <Problem>{error}</Problem>}
      {answer === undefined ? (
        isLoading ? (
          <Loading what="Comparing, entry by entry" />
        ) : null
      ) : (
        <div class={isLoading ? 'is-stale' : ''}>
          {answer.isWhole ? null : (
            <Problem>
              This is what was found in the time that a comparison may take; holdfast diff compares all.
            </Problem>
          )}
          {answer.counts.length === 0 ? (
            <Empty>
              Nothing differs between {shortId(answer.a.id)} and {shortId(answer.b.id)}.
            </Empty>
          ) : (
            <>
              <Panel
                title="What has changed"
                note={`from ${shortId(answer.a.id)} to ${shortId(answer.b.id)}`}
              >
                <div class="scroll">
                  <table>
                    <thead>
                      <tr>
                        <th>State</th>
                        <th class="number">Added</th>
                        <th class="number">Removed</th>
                        <th class="number">Changed</th>
                        <th class="wide-only" />
                      </tr>
                    </thead>
                    <tbody>
                      {answer.counts.map((each) => (
                        <tr key={each.state}>
                          <td>
                            {each.state === '' ? (
                              'entries'
                            ) : (
                              <button
                                type="button"
                                class="link"
                                onClick={() => refine({ state: each.state })}
                              >
                                {each.state}
                              </button>
                            )}
                          </td>
                          <td class="number added">{each.added === 0 ? '' : `+${count(each.added)}`}</td>
                          <td class="number removed">
                            {each.removed === 0 ? '' : `−${count(each.removed)}`}
                          </td>
                          <td class="number changed">
                            {each.changed === 0 ? '' : `~${count(each.changed)}`}
                          </td>
                          <td class="wide-only bar-cell">
                            {(['added', 'removed', 'changed'] as const).map((kind) =>
                              each[kind] === 0 ? null : (
                                <Bar key={kind} share={each[kind] / most} tone={kind} />
                              ),
                            )}
                          </td>
                        </tr>
                      ))}
                    </tbody>
                  </table>
                </div>
              </Panel>
              <Panel title="Entries" note={`the first ${count(answer.differences.length)} in key order`}>
                <ul class="differences">
                  {answer.differences.map((each) => (
                    <DifferenceRow key={inline([each.state, each.key, each.mapKey])} each={each} />
                  ))}
                </ul>
              </Panel>
            </>
          )}
        </div>
      )}
    </>
  )
}

function DifferenceRow({ each }: { readonly each: Difference }) {
  const { kind, state, key, mapKey, before, after } = each
  const isOnlyExpiry = before !== null && after !== null && inline(before.value) === inline(after.value)
  return (
    <li class={kind}>
      <span class="sign" title={kind}>
        {SIGNS[kind]}
      </span>
      <span class="whose">
        {state === '' ? null : <span class="faint">{state} </span>}
        <code>
          <bdi>{inline(key)}</bdi>
          {mapKey === null ? null : <bdi> {inline(mapKey)}</bdi>}
        </code>
      </span>
      <span class="values">
        {before === null ? null : (
          <code class="before">{isOnlyExpiry ? before.expiresAt : inline(before.value)}</code>
        )}
        {before !== null && after !== null ? <span class="faint"> → </span> : null}
        {after === null ? null : (
          <code class="after">{isOnlyExpiry ? after.expiresAt : inline(after.value)}</code>
        )}
        {isOnlyExpiry ? <span class="faint"> (expiry)</span> : null}
      </span>
    </li>
  )
}
