// Who may ask, and what every answer says to the browser. The inspector shows the content of a state, and listens on this machine only, where
// other users, and every page that a browser has open, can reach it too.
//
// (1) The path begins with a secret that nobody else knows. What does not know it is told that there is nothing.
// (2) The Host header names this machine: a name of somebody else's that was made to mean 127.0.0.1 (DNS rebinding) is refused.
// (3) Another site's page may not ask: no CORS headers, and requests that the browser calls cross-site are refused.
// (4) Only reading: GET and HEAD, without a body.

import { createHash, timingSafeEqual } from 'node:crypto'
import type { IncomingMessage } from 'node:http'

/** A request that is refused: with this status, and a sentence. */
export class Refusal {
  readonly status: number
  readonly reason: string

  constructor(status: number, reason: string) {
    this.status = status
    this.reason = reason
  }
}

/** What every answer has. Scripts, styles and requests are the server's own; nothing is inline, framed, or fetched from elsewhere. */
export const SECURITY_HEADERS: { readonly [name: string]: string } = {
  'content-security-policy': [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self'",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
  ].join('; '),
  'cache-control': 'no-store',
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'permissions-policy': 'camera=(), geolocation=(), microphone=()',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
}

const digest = (text: string): Buffer => createHash('sha256').update(text).digest()

/** What is asked for behind the secret, as it was written: `''`, `page.js`, `api/places`. */
export interface RequestedPath {
  readonly pathname: string
  readonly searchParams: URLSearchParams
}

/** The path and the query of a request that may be answered. Throws nothing. */
export function requestedPath(
  request: Pick<IncomingMessage, 'method' | 'headers' | 'url'>,
  port: number,
  token: string,
): RequestedPath | Refusal {
  const { method, headers, url = '/' } = request
  if (!HOSTS.some((host) => isHost(headers.host, host, port))) {
    return new Refusal(403, 'the Host header does not name this machine')
  }
  const site = headers['sec-fetch-site']
  if (site === 'cross-site' || site === 'same-site')
    return new Refusal(403, 'asked by a page of another site')
  const [, given = '', ...rest] = url.split('?', 1)[0]?.split('/') ?? []
  // Digests have one length, and are compared in a time that tells nothing.
  if (!timingSafeEqual(digest(given), digest(token))) return new Refusal(404, 'there is nothing here')
  if (method !== 'GET' && method !== 'HEAD') return new Refusal(405, 'the inspector only reads')
  const hasBody = headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) !== 0
  if (hasBody) return new Refusal(413, 'a request has no body here')
  if (rest.length === 0) return new Refusal(404, 'there is nothing here')
  const query = url.includes('?') ? url.slice(url.indexOf('?') + 1) : ''
  return { pathname: rest.join('/'), searchParams: new URLSearchParams(query) }
}

/** Browsers leave out the port that an address of the web has by itself. */
const isHost = (given: string | undefined, host: string, port: number): boolean =>
  given === `${host}:${port}` || (port === 80 && given === host)

const HOSTS = ['127.0.0.1', 'localhost', '[::1]']
