// Runs modules one after the other, each in an empty directory of its own, and writes to a file what each has printed:
//
//   node run-samples.mjs <report> <module>…
//
// One is done when nothing is left to wait for: that is when a process of its own would end.

import { appendFileSync, mkdtempSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { inspect } from 'node:util'

/** How Node ends where a module waits at its top for what never comes. */
const STILL_WAITING = 13

const [reportFile, ...files] = process.argv.slice(2)
const base = process.cwd()
let printed = { stdout: '', stderr: '' }
let running
/** Whether the last line of the running module was reached. */
let isWhole = true

for (const name of ['stdout', 'stderr']) {
  process[name].write = (chunk, encoding, callback) => {
    printed[name] += typeof chunk === 'string' ? chunk : Buffer.from(chunk).toString()
    const done = typeof encoding === 'function' ? encoding : callback
    if (done !== undefined) process.nextTick(done)
    return true
  }
}

function report(status) {
  appendFileSync(reportFile, `${JSON.stringify({ file: running, status, ...printed })}\n`)
}

async function load(file) {
  isWhole = false
  await import(pathToFileURL(file).href)
  isWhole = true
}

/** What a module has left open, such as a file, is told of when the memory is collected: while it is still the one that runs. */
async function collected() {
  for (let turn = 0; turn < 3; turn++) {
    globalThis.gc?.()
    await new Promise((resolve) => setImmediate(resolve))
  }
}

async function next() {
  // What it waits for keeps the process alive, so that this comes once for each module.
  if (running !== undefined) await collected()
  if (running !== undefined) report(isWhole ? (process.exitCode ?? 0) : STILL_WAITING)
  running = files.shift()
  if (running === undefined) return
  printed = { stdout: '', stderr: '' }
  process.exitCode = undefined
  process.chdir(mkdtempSync(join(base, 'sample-')))
  // What it throws nobody catches, as in a process of its own.
  void load(running)
}

// What ends the process is the end of one module alone; whoever runs this begins anew with the rest of them.
process.on('uncaughtExceptionMonitor', (error) => {
  printed.stderr += inspect(error)
})
process.on('exit', (status) => {
  if (running !== undefined) report(status)
})
process.on('beforeExit', () => void next())
void next()
