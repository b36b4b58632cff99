// The tables, as scripts: each brings the schema of a version to the next one, and may run again. `PostgresStateBackend.open` runs what is
// missing; with `migrate: false`, they are run by hand, by a role that may create what they create.
//
//   stores        one row a store: who owns it, the number of its owner's last batch, how far its clock has come, how many entries it holds
//   s<id>         the entries of store <id>: key · value · expires_at (milliseconds since the epoch; NULL: never)
//   s<id>_write   applies a batch to it
//   s<id>_p<n>    its partitions, where it has some
//   s<id>_alive   of a store that is not logged: one row, which a crash of the server takes away with the entries
//
// (1) `bytea` is compared byte by byte, unsigned: the order of keys is ours.
// (2) Whatever changes a table of entries holds the lock of the store's row in `stores`, and has seen its own token there.

import { invalidArgument } from '../base/options.js'
import { quoted, sqlName } from '../remote/postgres-client.js'

/** The version of the tables that this package works on. */
export const SCHEMA_VERSION = 1

/** Statements, in order, that bring a schema from nothing to {@link SCHEMA_VERSION}; each does nothing where it was done before. */
export function migrations(schema: string): readonly string[] {
  const wrong = sqlName(schema)
  if (wrong !== undefined) throw invalidArgument('schema', wrong)
  const name = quoted(schema)
  return [
    `CREATE SCHEMA IF NOT EXISTS ${name}`,
    `CREATE TABLE IF NOT EXISTS ${name}.versions (version int PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())`,
    `CREATE TABLE IF NOT EXISTS ${name}.stores (
  id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name text NOT NULL UNIQUE,
  token bigint NOT NULL DEFAULT 0,
  owner text NOT NULL DEFAULT '',
  last_batch bigint NOT NULL DEFAULT 0,
  last_expired bigint NOT NULL DEFAULT 0,
  clock_ms float8 NOT NULL DEFAULT 0,
  entries bigint NOT NULL DEFAULT 0,
  has_deadlines boolean NOT NULL DEFAULT false,
  is_unlogged boolean NOT NULL DEFAULT false
) WITH (fillfactor = 50)`,
    `INSERT INTO ${name}.versions (version) VALUES (${SCHEMA_VERSION}) ON CONFLICT DO NOTHING`,
  ]
}

/** How the entries of a store are kept. */
export interface StoreLayout {
  readonly schema: string
  readonly id: number
  /** Key groups at which another partition begins, rising; none: one table. */
  readonly partitionsFrom: readonly number[]
  readonly unlogged: boolean
}

/** The table that is empty once a crash of the server has emptied a store that is not logged. */
export function aliveTable(schema: string, id: number): string {
  return `${entriesTable(schema, id)}_alive`
}

/** The table of a store's entries. */
export function entriesTable(schema: string, id: number): string {
  return `${quoted(schema)}.s${id}`
}

/** Statements that make the tables of one store, once. */
export function tableStatements({ schema, id, partitionsFrom, unlogged }: StoreLayout): readonly string[] {
  const table = entriesTable(schema, id)
  const kind = unlogged ? 'UNLOGGED TABLE' : 'TABLE'
  const alive = unlogged ? [`CREATE UNLOGGED TABLE ${aliveTable(schema, id)} AS SELECT 1 AS is`] : []
  const columns = '(key bytea PRIMARY KEY, value bytea NOT NULL, expires_at float8)'
  const deadlines = `CREATE INDEX s${id}_deadlines ON ${table} (expires_at) WHERE expires_at IS NOT NULL`
  const plain = (name: string) => `ALTER TABLE ${name} ALTER COLUMN value SET STORAGE EXTERNAL`
  if (partitionsFrom.length === 0) {
    return [`CREATE ${kind} ${table} ${columns}`, plain(table), deadlines, ...alive]
  }
  const bounds = ['MINVALUE', ...partitionsFrom.map(groupBound), 'MAXVALUE']
  const partitions = bounds.slice(1).flatMap((until, place) => {
    const name = `${table}_p${place}`
    const from = bounds[place] ?? 'MINVALUE'
    const stretch = `FOR VALUES FROM (${from}) TO (${until})`
    return [`CREATE ${kind} ${name} PARTITION OF ${table} ${stretch}`, plain(name)]
  })
  const parent = `CREATE TABLE ${table} ${columns} PARTITION BY RANGE (key)`
  return [parent, ...partitions, deadlines, ...alive]
}

/** The first key of a group: stored keys begin with it. */
function groupBound(group: number): string {
  return `'\\x${group.toString(16).padStart(4, '0')}'`
}

/**
 * Calls the function that writes: its twelve arguments, and the last batch of which its owner knows that it was applied. No row is answered, and nothing is
 * written, where the owner's last batch there is one before that: this server lacks what was acknowledged. Asked is what was committed before the statement.
 */
export function writeStatement(schema: string, id: number): string {
  const types = [
    'bigint',
    'bigint',
    'float8',
    'bytea[]',
    'bytea[]',
    'float8[]',
    ...Array.from({ length: 5 }, () => 'bytea[]'),
  ]
  const args = types.map((type, i) => `$${i + 1}::${type}`).join(', ')
  const lacking = `SELECT FROM ${quoted(schema)}.stores WHERE id = ${id} AND token = $1::bigint AND last_batch < $13::bigint`
  // The function depends on what was found, so that it is not called before.
  return `WITH whole AS MATERIALIZED (SELECT 0 AS none WHERE NOT EXISTS (${lacking}))
SELECT w.* FROM whole CROSS JOIN LATERAL ${entriesTable(schema, id)}_write(${args}, $12::int + whole.none) AS w`
}

const literal = (text: string): string => `'${text.replaceAll("'", "''")}'`

/**
 * One call applies a batch or nothing. It is a function, and no statement with parts, since each statement in it sees what was committed
 * before it began: what is expected is compared only once the row is locked. Plans that read a whole table are kept out, for those of a
 * function are made while the table is small. Without them, a plan has a cost at which the server would compile it first.
 */
export function writeFunction(schema: string, id: number, isUnlogged: boolean): string {
  const table = entriesTable(schema, id)
  const stores = `${quoted(schema)}.stores`
  const emptied = isUnlogged
    ? `IF NOT EXISTS (SELECT 1 FROM ${aliveTable(schema, id)}) THEN outcome := 'emptied'; RETURN; END IF;`
    : ''
  return `CREATE OR REPLACE FUNCTION ${table}_write(
  p_token bigint, p_batch bigint, p_now float8,
  p_keys bytea[], p_values bytea[], p_expires float8[], p_deleted bytea[], p_from bytea[], p_until bytea[],
  p_expected bytea[], p_expected_values bytea[], p_sweep int,
  OUT outcome text, OUT failed bytea, OUT held float8, OUT expired float8, OUT swept float8)
LANGUAGE plpgsql SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $function$
DECLARE
  store ${stores}%ROWTYPE;
  now_ms float8;
  gone bigint; late bigint; place int;
BEGIN
  SELECT * INTO store FROM ${stores} WHERE id = ${id} FOR UPDATE;
  expired := 0; swept := 0; held := store.entries;
  IF store.token IS DISTINCT FROM p_token THEN
    outcome := 'fenced'; failed := convert_to(coalesce(store.owner, ''), 'UTF8'); RETURN;
  END IF;
  ${emptied}
  IF p_batch = store.last_batch THEN outcome := 'applied'; expired := store.last_expired; RETURN; END IF;
  IF p_batch < store.last_batch THEN outcome := 'late'; RETURN; END IF;
  now_ms := greatest(p_now, store.clock_ms);
  IF p_expected IS NOT NULL THEN
    SELECT e.k INTO failed FROM unnest(p_expected, p_expected_values) WITH ORDINALITY AS e(k, v, n)
      WHERE (SELECT t.value FROM ${table} t WHERE t.key = e.k AND (t.expires_at IS NULL OR t.expires_at > now_ms))
        IS DISTINCT FROM e.v
      ORDER BY e.n LIMIT 1;
    IF FOUND THEN outcome := 'unexpected'; RETURN; END IF;
  END IF;
  IF p_from IS NOT NULL THEN
    FOR place IN 1 .. cardinality(p_from) LOOP
      IF p_until[place] IS NULL AND p_from[place] = '' THEN
        late := 0;
        IF store.has_deadlines THEN SELECT count(*) INTO late FROM ${table} t WHERE t.expires_at <= now_ms; END IF;
        -- Everything is read where it lies, which the plans of this function do not do otherwise.
        PERFORM set_config('enable_seqscan', 'on', true);
        EXECUTE 'DELETE FROM ' || ${literal(table)};
        GET DIAGNOSTICS gone = ROW_COUNT;
        PERFORM set_config('enable_seqscan', 'off', true);
      ELSIF p_until[place] IS NULL THEN
        WITH d AS (DELETE FROM ${table} t WHERE t.key >= p_from[place] RETURNING t.expires_at)
          SELECT count(*), count(*) FILTER (WHERE d.expires_at <= now_ms) INTO gone, late FROM d;
      ELSE
        WITH d AS (DELETE FROM ${table} t WHERE t.key >= p_from[place] AND t.key < p_until[place] RETURNING t.expires_at)
          SELECT count(*), count(*) FILTER (WHERE d.expires_at <= now_ms) INTO gone, late FROM d;
      END IF;
      held := held - gone; expired := expired + late;
    END LOOP;
  END IF;
  IF p_deleted IS NOT NULL THEN
    WITH d AS (DELETE FROM ${table} t WHERE t.key = ANY (p_deleted) RETURNING t.expires_at)
      SELECT count(*), count(*) FILTER (WHERE d.expires_at <= now_ms) INTO gone, late FROM d;
    held := held - gone; expired := expired + late;
  END IF;
  IF p_keys IS NOT NULL THEN
    IF store.has_deadlines THEN
      SELECT count(*) INTO late FROM ${table} t WHERE t.key = ANY (p_keys) AND t.expires_at <= now_ms;
      expired := expired + late;
    END IF;
    -- Nobody else writes while the store's row is locked: what an update has not found is not there, and what it has is counted by that.
    IF p_expires IS NULL AND NOT store.has_deadlines THEN
      UPDATE ${table} t SET value = e.v FROM unnest(p_keys, p_values) AS e(k, v) WHERE t.key = e.k;
      GET DIAGNOSTICS gone = ROW_COUNT;
    ELSIF p_expires IS NULL THEN
      UPDATE ${table} t SET value = e.v, expires_at = NULL FROM unnest(p_keys, p_values) AS e(k, v) WHERE t.key = e.k;
      GET DIAGNOSTICS gone = ROW_COUNT;
    ELSE
      UPDATE ${table} t SET value = e.v, expires_at = e.x FROM unnest(p_keys, p_values, p_expires) AS e(k, v, x) WHERE t.key = e.k;
      GET DIAGNOSTICS gone = ROW_COUNT;
      store.has_deadlines := true;
    END IF;
    IF gone < cardinality(p_keys) THEN
      held := held + cardinality(p_keys) - gone;
      IF p_expires IS NULL THEN
        INSERT INTO ${table} (key, value) SELECT * FROM unnest(p_keys, p_values) ON CONFLICT (key) DO NOTHING;
      ELSE
        INSERT INTO ${table} (key, value, expires_at) SELECT * FROM unnest(p_keys, p_values, p_expires) ON CONFLICT (key) DO NOTHING;
      END IF;
    END IF;
  END IF;
  IF store.has_deadlines AND p_sweep > 0 THEN
    WITH due AS (SELECT t.key FROM ${table} t WHERE t.expires_at <= now_ms ORDER BY t.expires_at LIMIT p_sweep),
      d AS (DELETE FROM ${table} t WHERE t.key = ANY (ARRAY(SELECT due.key FROM due)) RETURNING 1)
      SELECT count(*) INTO swept FROM d;
    held := held - swept; expired := expired + swept;
  END IF;
  UPDATE ${stores} SET last_batch = coalesce(p_batch, last_batch),
      last_expired = CASE WHEN p_batch IS NULL THEN last_expired ELSE expired END,
      clock_ms = now_ms, entries = held, has_deadlines = store.has_deadlines
    WHERE id = ${id};
  outcome := 'applied';
END $function$`
}
