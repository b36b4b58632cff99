import { Client } from 'pg'
import { itSurvivesKills } from './every-service.js'

itSurvivesKills(
  'postgres',
  (address, value) =>
    use(address, async (client) => {
      await client.query('CREATE TABLE IF NOT EXISTS list (id serial, value text)')
      await client.query('INSERT INTO list (value) VALUES ($1)', [value])
    }),
  (address) =>
    use(address, async (client) => {
      const { rows } = await client.query<{ value: string }>('SELECT value FROM list ORDER BY id')
      return rows.map(({ value }) => value)
    }),
)

async function use<Result>(address: string, work: (client: Client) => Promise<Result>): Promise<Result> {
  const client = new Client({ connectionString: address })
  await client.connect()
  try {
    return await work(client)
  } finally {
    await client.end()
  }
}
