import { RemoteBackend } from '../backend/facade/remote-backend.js'
import { RedisEngine } from './redis-engine.js'
import { type RedisStateBackendOptions, settingsFrom } from './settings.js'

/**
 * State in Redis or Valkey. A batch is one script: it applies wholly or not at all, and once, however often the way to the server breaks. Each
 * page of a scan sees another instant, and there are no snapshots, so that no coordinator takes it; a job keeps its position in the store
 * itself. Values have at most 16 MiB, batches 64 MiB: beyond is `INVALID_ARGUMENT`.
 *
 * Whoever opens a store has it: an earlier owner's writes are `FENCED` from then on, and it writes nothing more. `STORAGE_ERROR` where the server is
 * away for longer than `reconnectForMs`, or has lost writes that it had acknowledged (a failover without `eachWrite`): the object is then
 * of no more use for writing, and the store holds whole batches, in their order, up to some point.
 *
 * @example
 * const backend = await RedisStateBackend.open({ client: new Redis('rediss://…'), name: 'usage' })
 * await backend.put(Buffer.from('tenant:1'), Buffer.from('42'))
 */
export class RedisStateBackend extends RemoteBackend {
  private constructor(engine: RedisEngine) {
    super(engine)
  }

  /**
   * Opens a store, made where it is missing. `FENCED` where a store that is shared is opened alone, or the other way round, or where another
   * opens it in the same moment; `INCOMPATIBLE` where it
   * was made with another `ordered` or other `keyGroups`, or the server throws entries away when its memory is full (`maxmemory-policy allkeys-*`, where it is `shared` also `volatile-*`),
   * or cannot wait for its disk where `fsync: 'waited'` asks for that.
   */
  static async open(options: RedisStateBackendOptions): Promise<RedisStateBackend> {
    return new RedisStateBackend(await RedisEngine.open(settingsFrom(options)))
  }
}
