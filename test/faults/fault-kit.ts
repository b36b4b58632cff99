import { execFile, spawn, spawnSync } from 'node:child_process'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { type CompiledSources, compileSources } from './compile-sources.js'
import { arm, type FaultRun, type FaultRunOptions, parseTrace } from './fault.js'
import { FaultSession, type SessionFiles } from './fault-session.js'

/** Why no faults can be injected on this machine, for the title of a skipped test; `undefined` where they can. */
export const missingForFaults: string | undefined =
  process.platform !== 'linux' ? 'needs Linux' : hasTool('gcc') ? undefined : 'needs gcc'

export function hasTool(name: string): boolean {
  return spawnSync(name, ['--version'], { stdio: 'ignore' }).status === 0
}

/** A title that says why its test is skipped, where it is. */
export function titled(title: string, missing: string | undefined): string {
  return missing === undefined ? title : `${title} (skipped: ${missing})`
}

/** Compiles the shim into `folder` and returns the path of the library. */
async function compileShim(folder: string): Promise<string> {
  const library = join(folder, 'shim.so')
  const source = join(import.meta.dirname, 'shim.c')
  const flags = ['-shared', '-fPIC', '-O1', '-Wall', '-Werror', '-o', library, source, '-ldl', '-lpthread']
  await promisify(execFile)('gcc', flags)
  return library
}

/**
 * Runs child scripts under injected faults. Open one per test file (`beforeAll`), close it afterwards.
 *
 * A script is a module under `test/faults/children/` that exports a `run` of type `ChildScript`.
 *
 * @example
 * for (let at = 1; ; at++) {
 *   const run = await kit.runWithFault('test/faults/children/publish.ts', { prefix, fault: { action: 'kill', at } })
 *   // reopen what the script worked on, and compare with run.lines, which it acknowledged
 *   if (!run.fired) break
 * }
 */
export class FaultKit {
  /** An empty folder for the tests, removed by `close`. Nothing of the kit itself is in it. */
  readonly folder: string
  readonly #ownFolder: string
  readonly #sources: CompiledSources
  readonly #library: string
  #processes = 0
  #folders = 0

  private constructor(ownFolder: string, sources: CompiledSources, library: string) {
    this.folder = join(ownFolder, 'tests')
    this.#ownFolder = ownFolder
    this.#sources = sources
    this.#library = library
  }

  /** An empty folder for one run. */
  async newFolder(): Promise<string> {
    const folder = join(this.folder, `run-${++this.#folders}`)
    await mkdir(folder)
    return folder
  }

  static async open(): Promise<FaultKit> {
    const ownFolder = await mkdtemp(join(tmpdir(), 'holdfast-faults-'))
    try {
      await mkdir(join(ownFolder, 'tests'))
      const library = await compileShim(ownFolder)
      return new FaultKit(ownFolder, await compileSources(), library)
    } catch (error) {
      await rm(ownFolder, { recursive: true })
      throw error
    }
  }

  async close(): Promise<void> {
    await rm(this.#ownFolder, { recursive: true, force: true })
  }

  /** The JavaScript of a child script, for tests that start it by themselves. */
  scriptPath(sourcePath: string): string {
    return this.#sources.pathOf(sourcePath)
  }

  /** Runs a script in a process of its own, to its end or to the fault that kills it. */
  async runWithFault(script: string, options: FaultRunOptions): Promise<FaultRun> {
    const files = await this.#prepare()
    arm(files.control, 1, options.fault)
    const child = spawn(
      process.execPath,
      [this.scriptPath(RUN_SCRIPT), this.scriptPath(script), ...(options.args ?? [])],
      { env: this.#environment(options.prefix, files), stdio: ['ignore', 'pipe', 'pipe'] },
    )
    const output = collect(child.stdout)
    const errorOutput = collect(child.stderr)
    const [exitCode, signal] = await new Promise<[number | null, NodeJS.Signals | null]>(
      (resolve, reject) => {
        child.once('error', reject)
        child.once('close', (code, killedBy) => resolve([code, killedBy]))
      },
    )
    const lines = output().split('\n').slice(0, -1)
    const trace = parseTrace(await readFile(files.trace, 'utf8'))
    return { ...trace, lines, errorOutput: errorOutput(), exitCode, signal }
  }

  /**
   * Starts one process that runs a script many times, each time with another fault: some twenty times faster
   * than a process per run, for faults that do not kill. Calls under `prefix` are counted anew for each run.
   */
  async openSession(script: string, prefix: string): Promise<FaultSession> {
    const files = await this.#prepare()
    const child = spawn(process.execPath, [this.scriptPath(RUN_SCRIPT), this.scriptPath(script)], {
      env: this.#environment(prefix, files),
      stdio: ['ignore', 'inherit', 'pipe', 'ipc'],
    })
    return new FaultSession(child, files)
  }

  async #prepare(): Promise<SessionFiles> {
    const number = ++this.#processes
    const control = join(this.#ownFolder, `control-${number}`)
    const trace = join(this.#ownFolder, `trace-${number}`)
    await writeFile(trace, '')
    await writeFile(control, new BigInt64Array(6))
    return { control, trace }
  }

  #environment(prefix: string, files: SessionFiles): NodeJS.ProcessEnv {
    return {
      ...process.env,
      LD_PRELOAD: this.#library,
      // One thread makes the order of the calls the same in every run; io_uring would bypass the shim.
      UV_THREADPOOL_SIZE: '1',
      UV_USE_IO_URING: '0',
      NODE_OPTIONS: '',
      HOLDFAST_FAULT_PREFIX: prefix,
      HOLDFAST_FAULT_CONTROL: files.control,
      HOLDFAST_FAULT_TRACE: files.trace,
    }
  }
}

const RUN_SCRIPT = 'test/faults/children/run-script.ts'

function collect(stream: NodeJS.ReadableStream): () => string {
  const chunks: Buffer[] = []
  stream.on('data', (chunk: Buffer) => chunks.push(chunk))
  return () => Buffer.concat(chunks).toString()
}
