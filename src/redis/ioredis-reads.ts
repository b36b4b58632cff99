// Reads of many fields by ioredis, each sent as one piece of bytes: ioredis puts a command together argument by argument, which takes much of the processor's
// time of a read where the arguments are bytes.
//
// (1) A command is one of ioredis' own, which the client makes: routing, prefixes and time limits are as with any other. Only its bytes are put together
//     here, so its arguments, which tracers and errors show, are the key alone.
// (2) That is done where a command of the client, made for a trial, is of the known shape, and comes to the very bytes that are put together here.

import { isBytes, isThenable } from '../base/shapes.js'

const NAME = 'HMGET'
const LINE_END_BYTES = 2
/** Of so many bytes, a loop copies faster than a call does. */
const SHORT_BYTES = 48
const [DOLLAR, ZERO, CR, LF] = [0x24, 0x30, 0x0d, 0x0a]

/** A command of ioredis, as far as it is used here. */
interface IoredisCommand {
  /** With what the client puts in front of keys. */
  readonly args: readonly unknown[]
  /** What goes over the connection; asked for again where the command is sent again. */
  toWritable(stream?: unknown): unknown
}

/** A client of ioredis, as far as it is used here. */
interface CommandClient {
  callBuffer(command: string, args: (string | Buffer)[]): unknown
}

/** With what a command needs to be sent by itself. */
interface OpenClient extends CommandClient {
  sendCommand(command: IoredisCommand): Promise<unknown>
}

/** A read of fields of a hash, which it has copied. */
export interface PreparedRead {
  /** Sends it, once or again: the values, and the answer to what is asked behind it. */
  send(): Promise<readonly unknown[]>
  /** A copy. */
  fieldAt(index: number): Uint8Array
}

export type PrepareRead = (key: string, fields: readonly Uint8Array[]) => PreparedRead

/** `undefined` where the client does not let itself be used so. It must send commands one by one. */
export function readsByIoredis(client: CommandClient): PrepareRead | undefined {
  if (!sendsCommands(client)) return undefined
  const makesCommands = Object.create(client, {
    sendCommand: { value: (command: unknown) => command },
  }) as OpenClient
  const commandOf = (key: string, fields: Buffer[]) => makesCommands.callBuffer(NAME, [key, ...fields])
  if (!isKnown(commandOf)) return undefined
  return (key, fields) => {
    let made: IoredisCommand | undefined = commandOf(key, []) as IoredisCommand
    const bytes = bytesOf(made.args[0], fields)
    return {
      send: async () => {
        const command = made ?? (commandOf(key, []) as IoredisCommand)
        made = undefined
        command.toWritable = () => bytes
        return [await client.sendCommand(command)]
      },
      fieldAt: (index) => fieldIn(bytes, index),
    }
  }
}

function sendsCommands(client: CommandClient): client is OpenClient {
  return typeof (client as Partial<OpenClient>).sendCommand === 'function'
}

/** Whether what makes commands does so, and they come to the bytes that are put together here. */
function isKnown(commandOf: (key: string, fields: Buffer[]) => unknown): boolean {
  const fields = [Buffer.from([0xff, 0]), Buffer.alloc(0), Buffer.alloc(12, 'a')]
  try {
    const made = commandOf('trial', fields)
    // A client behind another one may have sent it after all: a read of a key that is not there.
    if (isThenable(made)) (made as PromiseLike<unknown>).then(undefined, () => {})
    const { args, toWritable } = made as Partial<IoredisCommand>
    if (!Array.isArray(args) || typeof toWritable !== 'function') return false
    const own = (made as IoredisCommand).toWritable()
    return isBytes(own) && bytesOf(args[0], fields).equals(own)
  } catch {
    return false
  }
}

/** As the protocol has it: `*3 $5 HMGET $3 key $5 field`, each word and each text with a line's end behind it. */
function bytesOf(key: unknown, fields: readonly Uint8Array[]): Buffer {
  const keyBytes = isBytes(key) ? key : Buffer.from(String(key))
  const start = Buffer.from(`*${fields.length + 2}\r\n$${NAME.length}\r\n${NAME}\r\n`, 'latin1')
  let length = start.length + partLength(keyBytes.length)
  for (const field of fields) length += partLength(field.length)
  const bytes = Buffer.allocUnsafe(length)
  bytes.set(start)
  let at = writePart(bytes, start.length, keyBytes)
  for (const field of fields) at = writePart(bytes, at, field)
  return bytes
}

const digits = (number: number): number => (number < 10 ? 1 : number < 100 ? 2 : String(number).length)

const partLength = (length: number): number => 1 + digits(length) + LINE_END_BYTES + length + LINE_END_BYTES

/** Where the next part begins. */
function writePart(bytes: Buffer, start: number, part: Uint8Array): number {
  const { length } = part
  let at = start
  bytes[at] = DOLLAR
  let rest = length
  let end = at + digits(length)
  at = end + 1
  for (; end > start; end--) {
    bytes[end] = ZERO + (rest % 10)
    rest = Math.floor(rest / 10)
  }
  bytes[at] = CR
  bytes[at + 1] = LF
  at += 2
  if (length > SHORT_BYTES) bytes.set(part, at)
  else for (let i = 0; i < length; i++) bytes[at + i] = part[i] as number
  at += length
  bytes[at] = CR
  bytes[at + 1] = LF
  return at + 2
}

/** Of a command that was put together here. */
function fieldIn(bytes: Buffer, index: number): Uint8Array {
  let start = 0
  let length = 0
  // The first line has the number of parts; before the fields there are the name and the key.
  let at = bytes.indexOf(LF) + 1
  for (let part = 0; part <= index + 2; part++) {
    const end = bytes.indexOf(LF, at)
    length = Number(bytes.toString('latin1', at + 1, end - 1))
    start = end + 1
    at = start + length + 2
  }
  return new Uint8Array(bytes.subarray(start, start + length))
}
