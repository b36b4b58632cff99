import type { ChildProcess } from 'node:child_process'
import { readFile, truncate } from 'node:fs/promises'
import { finished } from 'node:stream/promises'
import { assert } from '../../src/base/assert.js'
import type { SessionReply } from './children/run-script.js'
import { arm, type Fault, type FaultRun, parseTrace } from './fault.js'

export interface SessionFiles {
  readonly control: string
  readonly trace: string
}

/** One process that runs its script again and again, each time with another fault; see `FaultKit.openSession`. */
export class FaultSession {
  readonly #child: ChildProcess
  readonly #files: SessionFiles
  #runs = 0
  #errorOutput = ''
  readonly #closed: Promise<unknown>

  constructor(child: ChildProcess, files: SessionFiles) {
    this.#child = child
    this.#files = files
    const { stderr } = child
    assert(stderr !== null, 'a session reads what its process writes to standard error')
    stderr.on('data', (chunk: Buffer) => {
      this.#errorOutput += chunk.toString()
    })
    // Not the event 'close', which Node does not emit where the parent has disconnected.
    const exited = new Promise((resolve) => child.once('exit', resolve))
    this.#closed = Promise.all([exited, finished(stderr)])
  }

  /** Runs the script once. What it threw, if it did, is in `errorOutput`, and `exitCode` is then 1. */
  async run(args: readonly string[], fault: Fault | undefined): Promise<FaultRun> {
    await truncate(this.#files.trace)
    arm(this.#files.control, ++this.#runs, fault)
    const reply = await new Promise<SessionReply>((resolve, reject) => {
      const died = () => reject(new Error(`the session's process died: ${this.#errorOutput}`))
      this.#child.once('exit', died)
      this.#child.once('message', (message) => {
        this.#child.off('exit', died)
        resolve(message as SessionReply)
      })
      this.#child.send(args)
    })
    const trace = parseTrace(await readFile(this.#files.trace, 'utf8'))
    const { lines, failure } = reply
    const exitCode = failure === undefined ? 0 : 1
    return { ...trace, lines, errorOutput: failure ?? '', exitCode, signal: null }
  }

  /** Ends the process. Resolves to what it wrote to its standard error in all its runs, warnings included. */
  async close(): Promise<string> {
    if (this.#child.connected) this.#child.disconnect()
    await this.#closed
    return this.#errorOutput
  }
}
