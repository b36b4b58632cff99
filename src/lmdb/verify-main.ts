// The process that `verifyStore` starts: reads the store whose directory is its argument and prints a report.

import { verifyHere } from './verify-store.js'

const [path] = process.argv.slice(2)
if (path === undefined) throw new Error('needs the directory of a store')
process.stdout.write(JSON.stringify(verifyHere(path)), () => process.exit(0))
