// The process that `verifyStore` starts: reads the data file that is its argument and prints a report.

import { verifyHere } from './verify-store.js'

const [dataPath] = process.argv.slice(2)
if (dataPath === undefined) throw new Error('needs the data file of a store')
process.stdout.write(JSON.stringify(verifyHere(dataPath)), () => process.exit(0))
