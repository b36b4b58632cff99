import type { Positions } from 'holdfast/job'
import { InputError } from './input-error.js'

/** One request to a language model, as a gateway logs it. */
export interface LlmRequest {
  readonly timestampMs: number
  readonly model: string
  readonly tenant: string
  readonly tokensIn: number
  readonly tokensOut: number
  readonly costUsd: number
  readonly latencyMs: number
}

/**
 * How far a source has been read. It is kept in every checkpoint, so it is plain JSON: a type alias and not an
 * interface, which the type of JSON values would not accept.
 */
export type SourcePosition = {
  /** Requests before this position. */
  readonly events: number
  /** Broken lines before this position that were passed over. */
  readonly skippedLines: number
  /** Where the next record of a file begins; the generator needs no more than `events`. */
  readonly file?: FilePosition
  /** Where to go on at a server. */
  readonly server?: Positions
}

export type FilePosition = {
  readonly byteOffset: number
  /** The number of the line that begins there, from 1. */
  readonly line: number
}

/** Requests in order of arrival. */
export interface Batch {
  readonly events: readonly LlmRequest[]
  /** The position behind each of them. */
  readonly ends: readonly SourcePosition[]
  /** The position behind the batch, with what was passed over after the last request. */
  readonly end: SourcePosition
}

/** Where requests come from. Read from the same position twice, it delivers the same requests twice. */
export interface EventSource {
  /** What is read, in a few words for people. */
  readonly description: string
  /** What else they should know, in lines. */
  readonly details: readonly string[]
  readonly start: SourcePosition
  /** Everything from a position on, in batches of at most `size` requests. */
  batches(from: SourcePosition, size: number): AsyncIterable<Batch>
  /** How much later than one with a higher timestamp a request comes at most. */
  readonly disorderMs: number
  /** How much of the input lies before a position, from 0 to 1. */
  fractionAt(position: SourcePosition): number
}

/** The position that a checkpoint kept, checked: its storage may be shared with a program that keeps something else. */
export function positionFrom(stored: unknown): SourcePosition {
  if (!isPosition(stored)) {
    throw new Error(`the checkpoint holds no position of this job: ${JSON.stringify(stored)}`)
  }
  return stored
}

function isPosition(value: unknown): value is SourcePosition {
  if (typeof value !== 'object' || value === null) return false
  const { events, skippedLines, file, server } = value as { [Name in keyof SourcePosition]: unknown }
  return (
    isCount(events) &&
    isCount(skippedLines) &&
    (file === undefined || isFilePosition(file)) &&
    (server === undefined || (typeof server === 'object' && server !== null))
  )
}

function isFilePosition(value: unknown): value is FilePosition {
  if (typeof value !== 'object' || value === null) return false
  const { byteOffset, line } = value as { [Name in keyof FilePosition]: unknown }
  return isCount(byteOffset) && isCount(line)
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0
}

/** A request has come when its window was closed. */
export function tooLate({ timestampMs }: LlmRequest): never {
  const time = new Date(timestampMs).toISOString()
  throw new InputError(`a request of ${time} came after its minute was closed; name a longer --disorder`)
}
