/** A server of an outside system, on loopback, which tests may kill. */
export interface RunningService {
  readonly name: string
  readonly address: string
  readonly port: number
  /** PEM; of a server that speaks TLS. */
  readonly certificate: string | undefined
  pid(): number | undefined
  /** kill -9. Resolves when the process is gone. */
  kill(): Promise<void>
  /** Ends it in its own way, and keeps what it has. */
  end(): Promise<void>
  /** Starts it again on what it has kept. */
  start(): Promise<void>
  /** Ends it, and removes what it has kept. */
  stop(): Promise<void>
}

export const serviceNames: readonly string[]
export function prepareService(name: string): Promise<void>
/** `secure`: a password; then it speaks TLS only. For redis, nats, postgres and kafka (user `job`, PLAIN or SCRAM-SHA-256). */
export function startService(name: string, options?: { readonly secure?: string }): Promise<RunningService>

/** Why PgBouncer cannot be had here; `undefined` where it can. */
export function lacksPooler(): string | undefined
/** PgBouncer in front of a PostgreSQL: it gives a connection of the server for one transaction. */
export function startPooler(serverPort: number): Promise<{ readonly address: string; stop(): Promise<void> }>

/** A server of PostgreSQL that repeats, by streaming replication, what the one at that port does. */
export function startPostgresStandby(primaryPort: number): Promise<ServerNode & { stop(): Promise<void> }>

/** One of several servers that know each other. */
export interface ServerNode {
  readonly port: number
  /** `undefined`: it does not run. */
  pid(): number | undefined
  /** kill -9. Resolves when the process is gone. */
  kill(): Promise<void>
  /** Starts it again on what it has kept. */
  start(): Promise<void>
}

/** One of several servers of Valkey. */
export type ValkeyNode = ServerNode

/** Starts one in a folder of the caller's, with arguments of its own beside those of a server that keeps everything. */
export function startValkeyNode(folder: string, args: readonly string[]): Promise<ValkeyNode>

/** Starts a sentinel in a folder of the caller's, with lines of its file of settings. */
export function startValkeySentinel(folder: string, settings: readonly string[]): Promise<ValkeyNode>
