import { once } from 'node:events'
import { serveInspector } from '../../inspector.js'
import { openPlace } from '../../view/place.js'
import { UsageError } from '../../view/usage-error.js'
import type { CommandContext } from '../context.js'
import { ExitStatus } from '../outcome.js'
import { countFrom } from './scan.js'

interface UiOptions {
  readonly port: string
}

/** Serves the inspector until Ctrl-C. */
export async function ui(
  { terminal, signal }: CommandContext,
  paths: readonly string[],
  options: UiOptions,
): Promise<number> {
  const port = countFrom('--port', options.port)
  if (port > 65_535) throw new UsageError(`--port takes a number up to 65535; not ${port}`)
  // Said of the path itself.
  for (const path of paths) await openPlace(path)
  const inspector = await serveInspector({ paths }, { port })
  try {
    if (terminal.json) await terminal.object({ url: inspector.url })
    else await terminal.line(inspector.url)
    await terminal.flush()
    terminal.note('Whoever has this address can read what is shown there. Ctrl-C ends it.')
    if (!signal.aborted) await once(signal, 'abort')
  } finally {
    await inspector.close()
  }
  return ExitStatus.ok
}
