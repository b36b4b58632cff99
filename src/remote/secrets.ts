// Errors of clients may hold what must not be printed: the arguments of a command that has failed, as of AUTH, or an address with a password.

import { isErrorLike } from '../base/shapes.js'

const CREDENTIALS = /(\b[a-z][a-z0-9+.-]*:\/\/)[^\s/@]*@/gi

/**
 * As a part of an address, or of a text of settings: `password=…`, `"secretAccessKey": "…"`. What may follow a word is bounded: a text that
 * repeats it would be looked through again from each place.
 */
const SETTING =
  /(\b\w*(?:password|passwd|pwd|passphrase|secret\w{0,64}|token|sig|signature|api_?key|access_?key\w{0,64})["']?\s*[=:]\s*["']?)[^\s"'&;,)]+/gi

/** A text without the user and the password of any address in it, and without what is called a password or the like. */
function withoutCredentials(text: string): string {
  return text.replaceAll(CREDENTIALS, '$1***@').replaceAll(SETTING, '$1***')
}

/** What an error says, for `cause`: its name, message, code and stack, and nothing else that its client has put in. */
export function withoutSecrets(error: unknown): Error {
  if (!isErrorLike(error)) return new Error('what was thrown is no error')
  const shown = new Error(withoutCredentials(messageOf(error)))
  shown.name = error.name
  if (typeof error.stack === 'string') shown.stack = withoutCredentials(error.stack)
  const { code } = error as { readonly code?: unknown }
  return typeof code === 'string' ? Object.assign(shown, { code }) : shown
}

/** Errors within errors are looked at so deep. */
const MOST_DEPTH = 5

/** What was behind an error that stands for several comes with it: by itself it says that something has failed, or nothing. */
function messageOf(error: Error): string {
  const { code } = error as { readonly code?: unknown }
  return saidBy(error, MOST_DEPTH) || (typeof code === 'string' ? code : error.name)
}

function saidBy(error: Error, depth: number): string {
  const { message } = error
  const { errors } = error as { readonly errors?: unknown }
  const first = Array.isArray(errors) ? (errors as readonly unknown[]).find(isErrorLike) : undefined
  const behind = first === undefined || depth === 0 ? '' : saidBy(first, depth - 1)
  if (message === '' || behind === '' || message.includes(behind)) return message === '' ? behind : message
  return `${message.replace(/\.$/, '')}: ${behind}`
}
