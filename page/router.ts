// Where one is: in the address, so that going back, reloading and bookmarks do what they should.

import { useEffect, useState } from 'preact/hooks'

export interface Route {
  readonly view: string
  readonly query: { readonly [name: string]: string | undefined }
}

function currentRoute(): Route {
  const [view = '', query = ''] = location.hash.replace(/^#\/?/, '').split('?', 2)
  return { view, query: Object.fromEntries(new URLSearchParams(query)) }
}

export function addressOf({ view, query }: Route): string {
  const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== '')
  const params = new URLSearchParams(given.map(([key, value]) => [key, value ?? '']))
  return `#/${view}${given.length === 0 ? '' : `?${params}`}`
}

export const go = (route: Route): void => {
  location.hash = addressOf(route)
}

/** The same place with something else in its query, without a step in the history. */
export function refine(query: Route['query']): void {
  const now = currentRoute()
  history.replaceState(null, '', addressOf({ view: now.view, query: { ...now.query, ...query } }))
  dispatchEvent(new HashChangeEvent('hashchange'))
}

export function useRoute(): Route {
  const [route, setRoute] = useState(currentRoute)
  useEffect(() => {
    const follow = () => setRoute(currentRoute())
    addEventListener('hashchange', follow)
    return () => removeEventListener('hashchange', follow)
  }, [])
  return route
}
