// The entries of a checkpoint or a store: searched, page by page.

import { useEffect, useRef, useState } from 'preact/hooks'
import {
  type About,
  ask,
  type Checkpoint,
  type EntriesPage,
  type Entry,
  messageOf,
  useAsked,
  usePinned,
} from './api.js'
import { bytes, count, duration, inline, pretty, time } from './format.js'
import { CheckpointChoice, ChoiceRow, Drawer, Empty, Loading, Panel, Problem } from './parts.js'
import { type Route, refine } from './router.js'

interface Found {
  readonly entries: readonly Entry[]
  readonly examined: number
  readonly next: string | null
  readonly tellsExpiry: boolean
  readonly isLoading: boolean
  readonly error: string | undefined
}

const NOTHING: Found = {
  entries: [],
  examined: 0,
  next: null,
  tellsExpiry: true,
  isLoading: true,
  error: undefined,
}

/** A search that found too little for a page goes on by itself for so many rounds. */
const ROUNDS = 8
/** Rows on the page; more of them make a browser slow. */
const MAX_ROWS = 2_000

export function EntriesView(props: {
  readonly place: string
  readonly listed: readonly Checkpoint[]
  readonly query: Route['query']
}) {
  const { place, listed, query } = props
  const newest = usePinned(place, listed)
  const id = query['id'] ?? newest
  const { state = '', prefix = '', text = '', from = '', to = '' } = query
  const about = useAsked<About>('about', { place, id })
  const [found, setFound] = useState(NOTHING)
  const [turn, setTurn] = useState(0)
  const [open, setOpen] = useState<Entry | undefined>()
  const question = { place, id, state, prefix, text, from, to }
  const asked = JSON.stringify(question)

  useEffect(() => {
    setFound(NOTHING)
    setTurn(0)
  }, [asked])

  useEffect(() => {
    const stop = new AbortController()
    const read = async () => {
      let so: Found = turn === 0 ? NOTHING : found
      const wanted = so.entries.length + 50
      for (let round = 0; round < ROUNDS; round++) {
        const page = await ask<EntriesPage>(
          'entries',
          { ...question, after: so.next ?? undefined },
          stop.signal,
        )
        so = {
          ...page,
          entries: [...so.entries, ...page.entries].slice(-MAX_ROWS),
          examined: so.examined + page.examined,
          isLoading: page.next !== null,
          error: undefined,
        }
        if (page.next === null || so.entries.length >= wanted) break
        setFound(so)
      }
      setFound({ ...so, isLoading: false })
    }
    setFound((so) => ({ ...so, isLoading: true }))
    read().catch((error: unknown) => {
      if (!stop.signal.aborted) setFound((so) => ({ ...so, isLoading: false, error: messageOf(error) }))
    })
    return () => stop.abort()
  }, [asked, turn])

  const isTyped = about.answer?.schema !== undefined && about.answer.schema !== null
  const hasMapKeys = found.entries.some(({ mapKey, place: at }) => mapKey !== undefined || at !== undefined)
  const hasExpiry = found.entries.some(({ expiresAt }) => expiresAt !== undefined)
  return (
    <>
      <form class="filters" onSubmit={(event) => event.preventDefault()}>
        {listed.length === 0 ? null : (
          <CheckpointChoice
            label="Checkpoint"
            listed={listed}
            value={id}
            onChange={(chosen) => refine({ id: chosen })}
          />
        )}
        {isTyped ? (
          <label class="field">
            <span>State</span>
            <select value={state} onChange={(event) => refine({ state: event.currentTarget.value })}>
              <option value="">all states</option>
              {about.answer?.schema?.states.map(({ name }) => (
                <option key={name} value={name}>
                  {name}
                </option>
              ))}
            </select>
          </label>
        ) : (
          <>
            <TextField
              label="Prefix"
              value={prefix}
              hint="user: or 0x00ff"
              onChange={(typed) => refine({ prefix: typed })}
            />
            <TextField label="From key" value={from} onChange={(typed) => refine({ from: typed })} />
            <TextField label="Up to, without" value={to} onChange={(typed) => refine({ to: typed })} />
          </>
        )}
        <TextField
          label="Search"
          value={text}
          hint="in keys and values"
          isSearch
          onChange={(typed) => refine({ text: typed })}
        />
      </form>
      <Panel
        title="Entries"
        note={
          <>
            {count(found.entries.length)} shown
            {found.examined > found.entries.length ? `, ${count(found.examined)} looked at` : ''}
            {about.answer === undefined ? '' : `, of ${count(about.answer.entryCount)}`}
            {found.tellsExpiry
              ? ''
              : '. Of a store, times to live are not told here: holdfast scan shows them.'}
          </>
        }
      >
        {found.error === undefined ? null : <Problem>{found.error}</Problem>}
        {found.entries.length === 0 && found.isLoading ? <Loading what="Reading entries" /> : null}
        {found.entries.length === 0 && !found.isLoading && found.error === undefined ? (
          <Empty>{whyNothing(text, found.next !== null)}</Empty>
        ) : null}
        {found.entries.length === 0 ? null : (
          <div class="scroll">
            <table class="entries">
              <thead>
                <tr>
                  {isTyped && state === '' ? <th>State</th> : null}
                  <th>Key</th>
                  {hasMapKeys ? <th>Map key</th> : null}
                  <th>Value</th>
                  {hasExpiry ? <th>Expires</th> : null}
                  <th class="number">Size</th>
                </tr>
              </thead>
              <tbody>
                {found.entries.map((entry) => (
                  <ChoiceRow key={entry.rawKey} onChoose={() => setOpen(entry)}>
                    {isTyped && state === '' ? <td class="faint">{entry.state ?? ''}</td> : null}
                    <td class="key">
                      <code>
                        <Marked text={inline(entry.key)} what={text} />
                      </code>
                    </td>
                    {hasMapKeys ? (
                      <td class="key">
                        {entry.place === undefined && entry.mapKey === undefined ? null : (
                          <code>
                            <Marked
                              text={entry.place === undefined ? inline(entry.mapKey) : `#${entry.place}`}
                              what={text}
                            />
                          </code>
                        )}
                      </td>
                    ) : null}
                    <td class="value">
                      {entry.problem === undefined ? null : <span class="tag bad">not decoded</span>}
                      <code>
                        <Marked text={inline(entry.value)} what={text} />
                      </code>
                    </td>
                    {hasExpiry ? (
                      <td class="nowrap expiry">
                        {entry.expiresAt === undefined ? '' : time(Date.parse(entry.expiresAt))}
                      </td>
                    ) : null}
                    <td class="number nowrap">{bytes(entry.bytes)}</td>
                  </ChoiceRow>
                ))}
              </tbody>
            </table>
          </div>
        )}
        {found.entries.length > 0 && found.isLoading ? <Loading what="Searching on" /> : null}
        {found.next !== null && !found.isLoading ? (
          <button type="button" class="more" onClick={() => setTurn(turn + 1)}>
            {text === '' ? 'Show more' : 'Search on'}
          </button>
        ) : null}
      </Panel>
      {open === undefined ? null : (
        <EntryDrawer
          place={place}
          id={id}
          entry={open}
          clockMs={about.answer?.clockMs}
          onClose={() => setOpen(undefined)}
        />
      )}
    </>
  )
}

/** A text, taken over a moment after the last key. */
function TextField(props: {
  readonly label: string
  readonly value: string
  readonly hint?: string
  readonly isSearch?: boolean
  readonly onChange: (value: string) => void
}) {
  const [typed, setTyped] = useState(props.value)
  /** What the address has of it: its own text comes back from there while more is being typed. */
  const told = useRef(props.value)
  useEffect(() => {
    if (props.value === told.current) return
    told.current = props.value
    setTyped(props.value)
  }, [props.value])
  useEffect(() => {
    if (typed === props.value) return undefined
    const timer = setTimeout(() => {
      told.current = typed
      props.onChange(typed)
    }, 250)
    return () => clearTimeout(timer)
  }, [typed])
  return (
    <label class={props.isSearch === true ? 'field grow' : 'field'}>
      <span>{props.label}</span>
      <input
        type="search"
        {...(props.isSearch === true ? { id: 'search' } : {})}
        value={typed}
        placeholder={props.hint ?? ''}
        autocomplete="off"
        spellcheck={false}
        onInput={(event) => setTyped(event.currentTarget.value)}
      />
    </label>
  )
}

/** A text with what was searched for in it marked. */
function Marked({ text, what }: { readonly text: string; readonly what: string }) {
  const at = what === '' ? -1 : text.toLowerCase().indexOf(what.toLowerCase())
  if (at < 0) return <bdi>{text}</bdi>
  return (
    <bdi>
      {text.slice(0, at)}
      <mark>{text.slice(at, at + what.length)}</mark>
      {text.slice(at + what.length)}
    </bdi>
  )
}

function EntryDrawer(props: {
  readonly place: string
  readonly id: string | undefined
  readonly entry: Entry
  readonly clockMs: number | undefined
  readonly onClose: () => void
}) {
  const { place, id, entry, clockMs, onClose } = props
  const { answer, error } = useAsked<{ readonly entry: Entry | null }>('entry', {
    place,
    id,
    key: entry.rawKey,
  })
  const whole = answer?.entry ?? entry
  return (
    <Drawer title={entry.state ?? 'Entry'} onClose={onClose}>
      {error === undefined ? null : <Problem>{error}</Problem>}
      {whole.problem === undefined ? null : <Problem>{whole.problem}</Problem>}
      <h3>Key</h3>
      <pre>{pretty(whole.key)}</pre>
      {whole.mapKey === undefined ? null : (
        <>
          <h3>Map key</h3>
          <pre>{pretty(whole.mapKey)}</pre>
        </>
      )}
      <h3>Value</h3>
      <pre>{pretty(whole.value)}</pre>
      {whole.isCut === true ? (
        <p class="note">It is longer than what is shown. holdfast get shows all of it.</p>
      ) : null}
      {whole.expiresAt === undefined ? null : (
        <>
          <h3>Expires</h3>
          <p>
            {time(Date.parse(whole.expiresAt))} UTC
            {clockMs === undefined
              ? ''
              : `, ${duration(Date.parse(whole.expiresAt) - clockMs)} after this instant`}
          </p>
        </>
      )}
      <h3>As it is stored</h3>
      <p>
        {bytes(whole.bytes)}, under <code class="break">{whole.rawKey}</code>
      </p>
    </Drawer>
  )
}

/** A search that has not come to the end has found nothing so far. */
function whyNothing(text: string, isMore: boolean): string {
  if (text === '') return 'There is nothing here.'
  return isMore ? `Nothing has “${text}” in it so far.` : `Nothing has “${text}” in it.`
}
