// What several views consist of.

import type { ComponentChildren, TargetedKeyboardEvent } from 'preact'
import { useEffect, useRef } from 'preact/hooks'
import type { Checkpoint } from './api.js'
import { shortId, time } from './format.js'

export function Panel(props: {
  readonly title: string
  readonly note?: ComponentChildren
  readonly children: ComponentChildren
}) {
  return (
    <section class="panel">
      <header>
        <h2>{props.title}</h2>
        {props.note === undefined ? null : <p class="note">{props.note}</p>}
      </header>
      {props.children}
    </section>
  )
}

export const Empty = ({ children }: { readonly children: ComponentChildren }) => (
  <p class="empty">{children}</p>
)

export const Problem = ({ children }: { readonly children: ComponentChildren }) => (
  <p class="problem" role="alert">
    {children}
  </p>
)

/** While there is nothing to show yet. */
export const Loading = ({ what }: { readonly what: string }) => (
  <p class="loading" role="status">
    <span class="spinner" aria-hidden="true" />
    {what}
  </p>
)

export const Figure = (props: {
  readonly name: string
  readonly value: string
  readonly tone?: 'bad' | 'good' | undefined
  readonly title?: string
}) => (
  <div class="figure" title={props.title}>
    <dt>{props.name}</dt>
    <dd class={props.tone}>{props.value}</dd>
  </div>
)

/** How large something is beside the largest of its kind. */
export const Bar = (props: {
  readonly share: number
  readonly tone?: 'added' | 'removed' | 'changed' | 'warm'
}) => (
  <span class={`bar ${props.tone ?? ''}`} aria-hidden="true">
    <span style={{ width: `${Math.max(props.share > 0 ? 1 : 0, Math.min(100, props.share * 100))}%` }} />
  </span>
)

/** A row that can be chosen with the mouse, Enter, and reached with the arrow keys. */
export function ChoiceRow(props: {
  readonly onChoose: () => void
  readonly isChosen?: boolean
  readonly children: ComponentChildren
}) {
  const onKeyDown = (event: TargetedKeyboardEvent<HTMLTableRowElement>) => {
    const row = event.currentTarget
    if (event.target !== row) return
    const step = { ArrowDown: 'nextElementSibling', ArrowUp: 'previousElementSibling' } as const
    if (event.key === 'Enter' || event.key === ' ') props.onChoose()
    else if (event.key === 'ArrowDown' || event.key === 'ArrowUp')
      (row[step[event.key]] as HTMLElement | null)?.focus()
    else return
    event.preventDefault()
  }
  return (
    <tr
      class="choice"
      tabIndex={0}
      aria-selected={props.isChosen === true}
      onClick={props.onChoose}
      onKeyDown={onKeyDown}
    >
      {props.children}
    </tr>
  )
}

export function CheckpointChoice(props: {
  readonly label: string
  readonly listed: readonly Checkpoint[]
  readonly value: string | undefined
  readonly onChange: (id: string) => void
}) {
  return (
    <label class="field">
      <span>{props.label}</span>
      <select value={props.value} onChange={(event) => props.onChange(event.currentTarget.value)}>
        {props.value === undefined || props.listed.some(({ id }) => id === props.value) ? null : (
          <option value={props.value}>{shortId(props.value)} · is not there any more</option>
        )}
        {props.listed.map(({ id, createdAtMs, kind }) => (
          <option key={id} value={id}>
            {shortId(id)} · {time(createdAtMs)}
            {kind === 'savepoint' ? ' · savepoint' : ''}
          </option>
        ))}
      </select>
    </label>
  )
}

/** What lies over the page until it is closed. */
export function Drawer(props: {
  readonly title: string
  readonly onClose: () => void
  readonly children: ComponentChildren
}) {
  const dialog = useRef<HTMLDialogElement>(null)
  useEffect(() => {
    dialog.current?.showModal()
  }, [])
  return (
    <dialog
      ref={dialog}
      class="drawer"
      aria-label={props.title}
      onClose={props.onClose}
      onClick={(event) => event.target === dialog.current && dialog.current?.close()}
    >
      <header>
        <h2>{props.title}</h2>
        <button type="button" class="quiet" onClick={() => dialog.current?.close()}>
          Close
        </button>
      </header>
      <div class="content">{props.children}</div>
    </dialog>
  )
}
