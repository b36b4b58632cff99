import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import type { CompiledSources } from './compile-sources.js'

/** A process that does with a store what it is told (children/lmdb-owner.ts). */
export class StoreProcess {
  readonly #child: ChildProcess

  private constructor(child: ChildProcess) {
    this.#child = child
  }

  /** `command`: words that run the words after them. */
  static async start(
    sources: CompiledSources,
    store: string,
    command: readonly string[] = [],
    mode = '',
  ): Promise<StoreProcess> {
    const script = sources.pathOf('test/faults/children/lmdb-owner.ts')
    const [program = process.execPath, ...args] = [...command, process.execPath, script, store, mode]
    const child = spawn(program, args, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
    const ended = once(child, 'exit').then(([code, signal]) => {
      throw new Error(`it ended with ${signal ?? code}`)
    })
    await Promise.race([once(child, 'message'), ended])
    return new StoreProcess(child)
  }

  async tell(line: string): Promise<string> {
    const child = this.#child
    return await new Promise((resolve) => {
      const died = (code: number | null, signal: string | null) => resolve(`died of ${signal ?? code}`)
      child.once('exit', died)
      child.once('message', (answer) => {
        child.off('exit', died)
        resolve(answer as string)
      })
      child.send(line)
    })
  }

  async kill(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const exited = once(this.#child, 'exit')
    this.#child.kill('SIGKILL')
    await exited
  }
}
