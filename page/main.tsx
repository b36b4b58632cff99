// The inspector's page: where one is, and how one gets elsewhere.

import { render } from 'preact'
import { useEffect, useState } from 'preact/hooks'
import { type Checkpoints, type Overview, type SkippedCheckpoint, useAsked } from './api.js'
import { CheckpointsView } from './checkpoints-view.js'
import { CompareView } from './compare-view.js'
import { EntriesView } from './entries-view.js'
import { inline, sequenceIn } from './format.js'
import { LiveView } from './live-view.js'
import { Drawer, Loading, Problem } from './parts.js'
import { addressOf, go, useRoute } from './router.js'
import { SizesView } from './sizes-view.js'

const VIEWS = [
  { view: 'checkpoints', name: 'Checkpoints' },
  { view: 'entries', name: 'Entries' },
  { view: 'compare', name: 'Compare' },
  { view: 'sizes', name: 'Sizes' },
  { view: 'live', name: 'Live' },
] as const

/** A running job makes checkpoints: the list is read again after so long. */
const LIST_EVERY_MS = 10_000

function Page() {
  const overview = useAsked<Overview>('places', {})
  if (overview.error !== undefined) return <Problem>{overview.error}</Problem>
  if (overview.answer === undefined) return <Loading what="Loading" />
  return <Inspector overview={overview.answer} />
}

function Inspector({ overview: { places, isLive } }: { readonly overview: Overview }) {
  const route = useRoute()
  const [helps, setHelps] = useState(false)
  const view = VIEWS.some((each) => each.view === route.view)
    ? route.view
    : isLive || places.length === 0
      ? 'live'
      : 'checkpoints'
  const index = route.query['place'] ?? '0'
  const place = places[Number(index)]
  const turn = useTurns(LIST_EVERY_MS)
  const asked = useAsked<Checkpoints>(
    place?.kind === 'checkpoints' && view !== 'live' ? 'checkpoints' : undefined,
    { place: index },
    turn,
  )
  // Not the list of the place before.
  const answer = asked.answered?.['place'] === index ? asked.answer : undefined
  const listed = answer?.checkpoints ?? []
  const shownViews = VIEWS.filter((each) => {
    if (each.view === 'live') return isLive
    if (each.view === 'compare') return place?.kind === 'checkpoints'
    return place !== undefined
  })
  const targetOf = (to: string) => ({
    view: to,
    query: { place: index === '0' ? undefined : index, ...(to === 'live' ? {} : { id: route.query['id'] }) },
  })
  useKeys((key) => {
    const chosen = shownViews[Number(key) - 1]
    if (chosen !== undefined) go(targetOf(chosen.view))
    else if (key === '?') setHelps(true)
    else if (key === '/') {
      if (view === 'entries') document.getElementById('search')?.focus()
      else if (place !== undefined) go(targetOf('entries'))
    } else return false
    return true
  })
  const [newest] = listed
  const isNewestShown = route.query[view === 'compare' ? 'b' : 'id'] === undefined
  const newer = isNewestShown && newest !== undefined ? newerOf(answer?.skipped ?? [], newest.id) : []
  const isListed = place?.kind === 'store' || answer !== undefined || asked.error !== undefined
  return (
    <>
      <header class="top">
        <a class="brand" href={addressOf({ view: shownViews[0]?.view ?? '', query: {} })}>
          <img src="icon.svg" alt="" width="20" height="20" />
          holdfast
        </a>
        {places.length === 0 ? null : places.length === 1 ? (
          <span class="place" title={place?.name}>
            <bdi>{inline(place?.name)}</bdi>
          </span>
        ) : (
          <select
            class="place"
            aria-label="What to look into"
            value={index}
            onChange={(event) => go({ view, query: { place: event.currentTarget.value } })}
          >
            {places.map(({ name, kind }, i) => (
              <option key={name} value={String(i)}>
                {inline(name)}
                {kind === 'store' ? ' (store)' : ''}
              </option>
            ))}
          </select>
        )}
        <nav aria-label="Views">
          {shownViews.map(({ view: to, name }) => (
            <a key={to} href={addressOf(targetOf(to))} aria-current={to === view ? 'page' : undefined}>
              {place?.kind === 'store' && to === 'checkpoints' ? 'Store' : name}
            </a>
          ))}
        </nav>
        <button
          type="button"
          class="quiet help"
          aria-label="Keys"
          title="Keys (?)"
          onClick={() => setHelps(true)}
        >
          ?
        </button>
      </header>
      <main>
        {view === 'live' || view === 'checkpoints'
          ? null
          : newer.map(({ id, code, reason }) => (
              <Problem key={id}>
                {id} is newer than what is shown, and cannot be read ({code}): {reason}
              </Problem>
            ))}
        {view === 'live' ? (
          <LiveView />
        ) : place === undefined ? (
          <Problem>There is no such place.</Problem>
        ) : view === 'checkpoints' ? (
          <CheckpointsView place={index} kind={place.kind} id={route.query['id']} asked={asked} />
        ) : !isListed ? (
          <Loading what="Reading the list of checkpoints" />
        ) : asked.error !== undefined ? (
          <Problem>{asked.error}</Problem>
        ) : view === 'entries' ? (
          <EntriesView place={index} listed={listed} query={route.query} />
        ) : view === 'compare' ? (
          <CompareView place={index} listed={listed} query={route.query} />
        ) : (
          <SizesView place={index} listed={listed} query={route.query} />
        )}
      </main>
      {helps ? (
        <Drawer title="Keys" onClose={() => setHelps(false)}>
          <dl class="keys">
            <dt>
              <kbd>1</kbd> to <kbd>{shownViews.length}</kbd>
            </dt>
            <dd>the views, from left to right</dd>
            <dt>
              <kbd>/</kbd>
            </dt>
            <dd>search</dd>
            <dt>
              <kbd>↑</kbd> <kbd>↓</kbd> <kbd>Enter</kbd>
            </dt>
            <dd>go through rows, and open one</dd>
            <dt>
              <kbd>Esc</kbd>
            </dt>
            <dd>close what lies on top</dd>
          </dl>
          <p class="note">
            All is read, nothing is changed. <a href="licences.txt">Licences of what the page consists of.</a>
          </p>
        </Drawer>
      ) : null}
    </>
  )
}

const newerOf = (skipped: readonly SkippedCheckpoint[], than: string): SkippedCheckpoint[] =>
  skipped.filter(({ id }) => sequenceIn(id) > sequenceIn(than))

/** Counts up while somebody looks. */
function useTurns(everyMs: number): number {
  const [turn, setTurn] = useState(0)
  useEffect(() => {
    const timer = setInterval(() => !document.hidden && setTurn((last) => last + 1), everyMs)
    return () => clearInterval(timer)
  }, [everyMs])
  return turn
}

/** Keys, unless something is being typed. */
function useKeys(take: (key: string) => boolean): void {
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      const { tagName = '' } = (event.target ?? {}) as { tagName?: string }
      if (event.ctrlKey || event.metaKey || event.altKey) return
      if (/^(?:INPUT|SELECT|TEXTAREA)$/.test(tagName) || document.querySelector('dialog[open]') !== null)
        return
      if (take(event.key)) event.preventDefault()
    }
    addEventListener('keydown', onKey)
    return () => removeEventListener('keydown', onKey)
  })
}

const place = document.getElementById('page')
if (place !== null) {
  place.replaceChildren()
  render(<Page />, place)
}
