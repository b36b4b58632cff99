// Checkpoints over time, and what each says of itself.

import { type About, type Checkpoints, type Overview, useAsked, usePinned } from './api.js'
import { bytes, count, duration, inline, pretty, shortId, time } from './format.js'
import { Bar, ChoiceRow, Empty, Figure, Loading, Panel, Problem } from './parts.js'
import { Plot } from './plot.js'
import { addressOf, refine } from './router.js'

export function CheckpointsView(props: {
  readonly place: string
  readonly kind: Overview['places'][number]['kind']
  readonly id: string | undefined
  readonly asked: { readonly answer: Checkpoints | undefined; readonly error: string | undefined }
}) {
  const { place, kind, id, asked } = props
  if (kind === 'store') return <AboutPanel place={place} id={undefined} previous={undefined} />
  if (asked.error !== undefined) return <Problem>{asked.error}</Problem>
  if (asked.answer === undefined) return <Loading what="Reading the list of checkpoints" />
  return <Listed place={place} id={id} answer={asked.answer} />
}

function Listed(props: {
  readonly place: string
  readonly id: string | undefined
  readonly answer: Checkpoints
}) {
  const { place, id } = props
  const { checkpoints, skipped } = props.answer
  const [newest] = checkpoints
  const oldestFirst = checkpoints.toReversed()
  const pinned = usePinned(place, checkpoints)
  const chosen = id ?? pinned
  const previous = checkpoints[checkpoints.findIndex((each) => each.id === chosen) + 1]?.id
  const largest = Math.max(...checkpoints.map(({ sizeBytes }) => sizeBytes), 1)
  return (
    <>
      {skipped.map(({ id: broken, code, reason }) => (
        <Problem key={broken}>
          {broken} cannot be read ({code}): {reason}
        </Problem>
      ))}
      {newest === undefined ? (
        <Empty>There are no checkpoints here yet.</Empty>
      ) : (
        <div class="columns">
          <div class="stack">
            {checkpoints.length > 1 ? (
              <div class="plots">
                <Plot
                  title="Size"
                  x={oldestFirst.map((_, i) => i + 1)}
                  nameOfX={(x) => nameOf(oldestFirst[x - 1]?.id)}
                  nameOfTick={(x) => shortId(oldestFirst[x - 1]?.id ?? '')}
                  lines={[
                    {
                      label: 'size',
                      color: '--accent',
                      values: oldestFirst.map(({ sizeBytes }) => sizeBytes),
                    },
                  ]}
                  format={bytes}
                  isBytes
                  isBars
                />
                <Plot
                  title="Entries"
                  x={oldestFirst.map((_, i) => i + 1)}
                  nameOfX={(x) => nameOf(oldestFirst[x - 1]?.id)}
                  nameOfTick={(x) => shortId(oldestFirst[x - 1]?.id ?? '')}
                  lines={[
                    {
                      label: 'entries',
                      color: '--second',
                      values: oldestFirst.map(({ entryCount }) => entryCount),
                    },
                  ]}
                  format={count}
                  isBars
                />
              </div>
            ) : null}
            <Panel title="Checkpoints" note={`${count(checkpoints.length)}, newest first`}>
              <div class="scroll">
                <table>
                  <thead>
                    <tr>
                      <th>Id</th>
                      <th>Made (UTC)</th>
                      <th>Kind</th>
                      <th class="number">Entries</th>
                      <th class="number">Size</th>
                      <th class="wide-only" />
                    </tr>
                  </thead>
                  <tbody>
                    {checkpoints.map((each) => (
                      <ChoiceRow
                        key={each.id}
                        isChosen={each.id === chosen}
                        onChoose={() => refine({ id: each.id })}
                      >
                        <td>
                          <code>{shortId(each.id)}</code>
                        </td>
                        <td class="nowrap time">{time(each.createdAtMs)}</td>
                        <td>
                          <span class={`tag ${each.kind}`}>{each.kind}</span>
                        </td>
                        <td class="number">{count(each.entryCount)}</td>
                        <td class="number nowrap">{bytes(each.sizeBytes)}</td>
                        <td class="wide-only bar-cell">
                          <Bar share={each.sizeBytes / largest} />
                        </td>
                      </ChoiceRow>
                    ))}
                  </tbody>
                </table>
              </div>
            </Panel>
          </div>
          <AboutPanel place={place} id={chosen} previous={previous} />
        </div>
      )}
    </>
  )
}

/** `3600000 ms by processing time` as `1.0 h by processing time`. */
const inWords = (ttl: string): string => ttl.replace(/^(\d+) ms\b/, (_, ms) => duration(Number(ms)))

const nameOf = (id: string | undefined): string => (id === undefined ? '' : `checkpoint ${shortId(id)}`)

function AboutPanel(props: {
  readonly place: string
  readonly id: string | undefined
  readonly previous: string | undefined
}) {
  const { place, id, previous } = props
  const { answer, error } = useAsked<About>('about', { place, id })
  if (error !== undefined) return <Problem>{error}</Problem>
  if (answer === undefined) return <Loading what="Reading what it says of itself" />
  const { schema, segments, source } = answer
  const raw = segments?.reduce((sum, { rawBytes }) => sum + rawBytes, 0)
  return (
    <Panel
      title={answer.id === undefined ? 'The store' : `Checkpoint ${shortId(answer.id)}`}
      note={answer.id}
    >
      <p class="actions">
        <a class="button" href={addressOf({ view: 'entries', query: { place, id } })}>
          Look at its entries
        </a>
        {previous === undefined ? null : (
          <a class="button" href={addressOf({ view: 'compare', query: { place, a: previous, b: id } })}>
            Compare with {shortId(previous)}
          </a>
        )}
        <a class="button" href={addressOf({ view: 'sizes', query: { place, id } })}>
          What is large
        </a>
      </p>
      <dl class="figures">
        <Figure name="entries" value={count(answer.entryCount)} />
        {answer.sizeBytes === undefined ? null : <Figure name="size" value={bytes(answer.sizeBytes)} />}
        {raw === undefined ? null : <Figure name="not compressed" value={bytes(raw)} />}
        {answer.createdAtMs === undefined ? null : (
          <Figure name="made" value={`${duration(Date.now() - answer.createdAtMs)} ago`} />
        )}
        {answer.engine === undefined ? null : <Figure name="engine" value={answer.engine} />}
        {answer.version === undefined ? null : <Figure name="holdfast" value={answer.version} />}
      </dl>
      {source === null || source === undefined ? null : (
        <>
          <h3>Position of the source</h3>
          <pre>{pretty(source)}</pre>
        </>
      )}
      {segments === undefined ? null : (
        <>
          <h3>{segments.length === 1 ? 'One file' : `A chain of ${segments.length} files`}</h3>
          <div class="scroll">
            <table>
              <thead>
                <tr>
                  <th>File</th>
                  <th>Role</th>
                  <th class="number">Entries</th>
                  <th class="number">Size</th>
                </tr>
              </thead>
              <tbody>
                {segments.map(({ name, role, entryCount, sizeBytes, sha256 }) => (
                  <tr key={name} title={`SHA-256 ${sha256}`}>
                    <td>
                      <code class="break">{name}</code>
                    </td>
                    <td>{role}</td>
                    <td class="number">{count(entryCount)}</td>
                    <td class="number nowrap">{bytes(sizeBytes)}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        </>
      )}
      {schema === null ? (
        <p class="note">Plain bytes: no schema is recorded.</p>
      ) : (
        <>
          <h3>States</h3>
          <p class="note">
            keyed by <code>{inline(schema.key)}</code>, in {count(schema.keyGroups)} key groups
          </p>
          <div class="scroll">
            <table>
              <thead>
                <tr>
                  <th>State</th>
                  <th>Kind</th>
                  <th>Values</th>
                  <th>Time to live</th>
                </tr>
              </thead>
              <tbody>
                {schema.states.map(({ name, kind, codec, mapKey, ttl, version }) => (
                  <tr key={name}>
                    <td>
                      <a href={addressOf({ view: 'entries', query: { place, id, state: name } })}>{name}</a>
                      {version > 1 ? <span class="faint"> v{version}</span> : null}
                    </td>
                    <td>{kind}</td>
                    <td>
                      <code>
                        {mapKey === undefined ? '' : `${mapKey} → `}
                        {codec}
                      </code>
                    </td>
                    <td>{ttl === undefined ? '' : inWords(ttl)}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        </>
      )}
    </Panel>
  )
}
