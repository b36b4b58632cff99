// What is large, how long it lives, how it is spread, and what changes all the time.

import { useEffect, useState } from 'preact/hooks'
import { type Checkpoint, type Hot, type Survey, useAsked, usePinned } from './api.js'
import { bytes, count, inline, shortId } from './format.js'
import { Bar, CheckpointChoice, Empty, Figure, Loading, Panel, Problem } from './parts.js'
import { Plot } from './plot.js'
import { type Route, refine } from './router.js'

const LIVES = ['below a minute', 'below an hour', 'below a day', 'below 30 days', 'longer', 'for ever']

export function SizesView(props: {
  readonly place: string
  readonly listed: readonly Checkpoint[]
  readonly query: Route['query']
}) {
  const { place, listed, query } = props
  const newest = usePinned(place, listed)
  const id = query['id'] ?? newest
  const { answer, error, isLoading } = useAsked<Survey>('survey', { place, id })
  return (
    <>
      {listed.length === 0 ? null : (
        <form class="filters" onSubmit={(event) => event.preventDefault()}>
          <CheckpointChoice
            label="Checkpoint"
            listed={listed}
            value={id}
            onChange={(to) => refine({ id: to })}
          />
        </form>
      )}
      {error === undefined ? null : <Problem>{error}</Problem>}
      {isLoading ? <Loading what="Reading every entry once" /> : null}
      {answer === undefined ? null : (
        <div class={isLoading ? 'is-stale' : ''}>
          <Sizes survey={answer} />
        </div>
      )}
      {listed.length < 2 ? null : <Hottest place={place} id={id} />}
    </>
  )
}

function Sizes({ survey }: { readonly survey: Survey }) {
  const { parts, lives, largest, keyGroups, spread } = survey
  if (survey.entries === 0) return <Empty>It is empty.</Empty>
  const mostBytes = Math.max(...parts.map((part) => part.bytes), 1)
  const mostLives = Math.max(...lives.map(({ entries }) => entries), 1)
  return (
    <>
      {survey.isWhole ? null : (
        <Problem>This is what was read in the time that a survey may take; holdfast stats reads all.</Problem>
      )}
      <dl class="figures">
        <Figure name="entries" value={count(survey.entries)} />
        <Figure name="keys and values" value={bytes(survey.bytes)} />
        <Figure name="mean" value={bytes(Math.round(survey.bytes / survey.entries))} />
        {spread === null ? null : (
          <Figure
            name="fullest key group : mean"
            value={`${spread.skew}×`}
            tone={spread.skew > 3 && survey.entries > 1_000 ? 'bad' : undefined}
          />
        )}
      </dl>
      <div class="columns even">
        <Panel title="By state or prefix">
          <div class="scroll">
            <table>
              <thead>
                <tr>
                  <th>What</th>
                  <th class="number">Entries</th>
                  <th class="number">Size</th>
                  <th class="bar-cell" />
                  <th class="number">Share</th>
                </tr>
              </thead>
              <tbody>
                {parts.map((part) => (
                  <tr key={part.name}>
                    <td class="key">
                      <bdi>{inline(part.name)}</bdi>
                    </td>
                    <td class="number">{count(part.entries)}</td>
                    <td class="number nowrap">{bytes(part.bytes)}</td>
                    <td class="bar-cell">
                      <Bar share={part.bytes / mostBytes} />
                    </td>
                    <td class="number nowrap">{((100 * part.bytes) / survey.bytes).toFixed(1)} %</td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        </Panel>
        <Panel title="Time to live">
          <table>
            <tbody>
              {LIVES.map((name) => {
                const entries = lives.find((each) => each.name === name)?.entries ?? 0
                return (
                  <tr key={name} class={entries === 0 ? 'faint' : ''}>
                    <td class="nowrap">{name}</td>
                    <td class="bar-cell">
                      <Bar share={entries / mostLives} tone="warm" />
                    </td>
                    <td class="number">{count(entries)}</td>
                  </tr>
                )
              })}
            </tbody>
          </table>
        </Panel>
      </div>
      {keyGroups.length < 2 ? null : (
        <Plot
          title={`Entries in each of ${keyGroups.length} key groups`}
          x={keyGroups.map((_, group) => group)}
          lines={[{ label: 'entries', color: '--accent', values: keyGroups }]}
          nameOfX={(group) => `key group ${group}`}
          format={count}
          isBars
        />
      )}
      <Panel title="Largest entries">
        <div class="scroll">
          <table>
            <tbody>
              {largest.map((each) => (
                <tr key={each.rawKey}>
                  <td class="faint">{each.state}</td>
                  <td class="key">
                    <code>
                      <bdi>{inline(each.key)}</bdi>
                    </code>
                  </td>
                  <td class="bar-cell">
                    <Bar share={each.bytes / (largest[0]?.bytes ?? 1)} />
                  </td>
                  <td class="number nowrap">{bytes(each.bytes)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      </Panel>
    </>
  )
}

/** Read when it is asked for: several checkpoints are compared. */
function Hottest({ place, id }: { readonly place: string; readonly id: string | undefined }) {
  const [wanted, setWanted] = useState(false)
  useEffect(() => setWanted(false), [place, id])
  const { answer, error } = useAsked<Hot>(wanted ? 'hot' : undefined, { place, id })
  return (
    <Panel title="Hottest keys" note="those that differ between most of the last checkpoints">
      {error === undefined ? null : <Problem>{error}</Problem>}
      {wanted ? null : (
        <button type="button" class="more" onClick={() => setWanted(true)}>
          Compare the last checkpoints
        </button>
      )}
      {wanted && answer === undefined && error === undefined ? (
        <Loading what="Comparing checkpoints" />
      ) : null}
      {answer === undefined || answer.between.length === 0 ? null : (
        <p class="note">
          Left out, as they cannot be read:{' '}
          {answer.between.map(({ id: broken }) => shortId(broken)).join(', ')}
        </p>
      )}
      {answer === undefined ? null : answer.keys.length === 0 ? (
        <Empty>Nothing has changed between the last checkpoints.</Empty>
      ) : (
        <>
          <div class="scroll">
            <table>
              <tbody>
                {answer.keys.map((each) => (
                  <tr key={each.rawKey}>
                    <td class="faint">{each.state}</td>
                    <td class="key">
                      <code>
                        <bdi>{inline(each.key)}</bdi>
                        {each.mapKey === null ? null : <bdi> {inline(each.mapKey)}</bdi>}
                      </code>
                    </td>
                    <td class="bar-cell">
                      <Bar share={each.changes / Math.max(1, answer.pairs)} tone="warm" />
                    </td>
                    <td class="number nowrap">
                      {each.changes} of {answer.pairs}
                    </td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
          {answer.isWhole ? null : (
            <p class="note">Some keys were left out: there were too many, or it took too long.</p>
          )}
        </>
      )}
    </Panel>
  )
}
