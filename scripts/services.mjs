// Starts servers of outside systems and prints their addresses; Ctrl-C ends them. What cannot be had is left out, with the reason.
//
//   node scripts/services.mjs [name]…      default: all

import { prepareService, serviceNames, startService } from './services/services.mjs'

const wanted = process.argv.length > 2 ? process.argv.slice(2) : serviceNames
const running = []
let isEnding = false

async function end() {
  if (isEnding) return
  isEnding = true
  await Promise.allSettled(running.map((service) => service.stop()))
  process.exit()
}
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => void end())

for (const name of wanted) {
  if (isEnding) break
  try {
    await prepareService(name)
    const service = await startService(name)
    running.push(service)
    process.stdout.write(`${name.padEnd(10)} ${service.address}   (process ${service.pid()})\n`)
  } catch (error) {
    process.stdout.write(`${name.padEnd(10)} not started: ${error.message}\n`)
  }
}
if (running.length === 0) process.exitCode = 1
else process.stdout.write('They run until you press Ctrl-C.\n')
// Its servers keep it alive; with none there is nothing to wait for.
