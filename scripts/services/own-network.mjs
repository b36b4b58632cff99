// Runs a server that listens on every address in a network of its own, where nobody but this machine's loopback reaches it:
//
//   node own-network.mjs PORT ITS-PORT SOCKET COMMAND…
//
// This process listens on 127.0.0.1:PORT. What arrives goes through a socket in the file system, which networks do not part, to a second
// process in the network of the server, and from there to ITS-PORT. The server ends with either of the two.

import { spawn, spawnSync } from 'node:child_process'
import * as net from 'node:net'
import { fileURLToPath } from 'node:url'

const [port, itsPort, socket, ...command] = process.argv.slice(2)

function passOn(from, to) {
  const server = net.createServer((near) => {
    const far = net.connect(to)
    near.pipe(far).pipe(near)
    for (const each of [near, far])
      each.on('error', () => {
        near.destroy()
        far.destroy()
      })
  })
  server.listen(from)
}

if (process.env['HOLDFAST_WITHIN'] === undefined) {
  const self = fileURLToPath(import.meta.url)
  const child = spawn('unshare', ['-n', process.execPath, self, port, itsPort, socket, ...command], {
    env: { ...process.env, HOLDFAST_WITHIN: '1' },
    // The other end is closed when this process ends, however it does.
    stdio: ['pipe', 'inherit', 'inherit'],
  })
  child.on('exit', (status) => process.exit(status ?? 1))
  process.on('SIGTERM', () => child.stdin.end())
  passOn({ host: '127.0.0.1', port: Number(port) }, { path: socket })
} else {
  spawnSync('ip', ['link', 'set', 'lo', 'up'])
  const [program, ...args] = command
  const server = spawn(program, args, { stdio: ['ignore', 'inherit', 'inherit'] })
  server.on('exit', (status) => process.exit(status ?? 1))
  process.stdin.on('end', () => server.kill('SIGKILL')).resume()
  passOn({ path: socket }, { host: '127.0.0.1', port: Number(itsPort) })
}
