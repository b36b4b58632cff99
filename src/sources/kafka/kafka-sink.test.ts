import { describe, expect, it } from 'vitest'
import { FakeKafka, textOf } from '../../testing/fake-kafka.js'
import { runSinkConformanceSuite } from '../../testing/sink-conformance.js'
import { type KafkaSinkOptions, kafkaSink } from './kafka-sink.js'
import { kafkajsClient } from './kafkajs-client.js'
import { platformaticKafkaClient } from './platformatic-client.js'

type Output = { readonly n: number }

function brokers(): FakeKafka {
  const kafka = new FakeKafka()
  kafka.createTopic('t', 1)
  return kafka
}

const transactional = (client: FakeKafka, more: object = {}): KafkaSinkOptions<Output> => ({
  client,
  topic: 't',
  guarantee: 'transactional',
  transactionalId: 'job',
  ...more,
})

for (const stateAfterCrash of ['cut', 'all'] as const) {
  for (const guarantee of ['transactional', 'idempotent'] as const) {
    runSinkConformanceSuite<Output>(
      { describe, it },
      `kafkaSink (${guarantee}, ${stateAfterCrash})`,
      async () => {
        const client = brokers()
        return {
          sink: kafkaSink<Output>(
            guarantee === 'transactional' ? transactional(client) : { client, topic: 't', guarantee },
          ),
          output: (n) => ({ n }),
          read: async () => client.valuesOf('t').map((value) => JSON.parse(value) as Output),
          stateAfterCrash,
          committedAfterOlderCut: 'kept' as const,
          dispose: async () => {},
        }
      },
    )
  }
}

/** A state that holds these outputs, and a cut that names them all as the epoch of that number. */
function stateWith(outputs: readonly Output[]) {
  const kept = new Map(outputs.map((output, i) => [i, output]))
  return {
    put: () => {},
    read: (from: number, until: number) => [...kept].filter(([number]) => number >= from && number < until),
    removeFrom: (from: number, until: number) => {
      for (const number of kept.keys()) if (number >= from && number < until) kept.delete(number)
    },
  }
}
const epochOf = (number: number, outputs: number, lineage = 'l') => ({
  epoch: { lineage, number },
  token: { first: 0, next: outputs },
})

const turn = () => new Promise((resolve) => setImmediate(resolve))

/** Whether each producer is open, in the order in which they were opened; what they send goes by way of `through`. */
function watchedProducers(client: FakeKafka, through: (send: () => Promise<void>) => Promise<void>) {
  const open: boolean[] = []
  const openProducer = client.openProducer.bind(client)
  client.openProducer = async () => {
    const producer = await openProducer()
    const place = open.push(true) - 1
    return {
      send: (topic, messages) => through(() => producer.send(topic, messages)),
      close: async () => {
        open[place] = false
      },
    }
  }
  return { open }
}

describe('a transactional sink of a Kafka topic', () => {
  const outputs = [{ n: 0 }, { n: 1 }]

  it('writes an epoch once where the answer to its commit was lost', async () => {
    const client = brokers()
    client.failures.push(['committed', new Error('connection lost')])
    const writer = await kafkaSink(transactional(client)).open({
      prepared: [epochOf(0, 2)],
      state: stateWith(outputs),
    })
    expect(client.valuesOf('t')).toEqual(['{"n":0}', '{"n":1}'])
    expect(client.calls.filter((call) => call === 'commit')).toHaveLength(1)
    await writer.close()
  })

  it('writes an epoch again where a transaction has failed before its commit', async () => {
    for (const call of ['open', 'readMark', 'begin', 'send', 'setMark', 'commit']) {
      const client = brokers()
      client.failures.push([call, new Error('connection lost')])
      const state = stateWith(outputs)
      const writer = await kafkaSink(transactional(client)).open({ prepared: [epochOf(0, 2)], state })
      expect(client.valuesOf('t')).toEqual(['{"n":0}', '{"n":1}'])
      await writer.close()
    }
  })

  it.each(['before', 'after'])(
    'is not fenced by an attempt that was given up and is answered late, %s it is closed',
    async (when) => {
      const client = brokers()
      const readMark = client.readMark.bind(client)
      let arrive = () => {}
      const late = new Promise<void>((resolve) => {
        arrive = resolve
      })
      let asked = 0
      client.readMark = async (...args) => {
        if (asked++ === 0) await late
        return await readMark(...args)
      }
      const sink = kafkaSink(transactional(client, { answerWithinMs: 5 }))
      const writer = await sink.open({ prepared: [epochOf(0, 2)], state: stateWith(outputs) })
      if (when === 'after') await writer.close()
      arrive()
      await turn()
      if (when === 'before') await writer.commit(epochOf(1, 0))
      await writer.close()
      const count = (name: string) => client.calls.filter((call) => call === name).length
      expect(count('close')).toBe(count('open'))
      expect(client.valuesOf('t')).toHaveLength(2)
    },
  )

  it('J3: refuses what comes of a zombie', async () => {
    const client = brokers()
    const sink = kafkaSink(transactional(client))
    const zombie = await sink.open({ prepared: [], state: stateWith(outputs) })
    const heir = await sink.open({ prepared: [epochOf(0, 2)], state: stateWith(outputs) })
    // What is there already is not written again by anyone.
    await zombie.commit(epochOf(0, 2))
    await expect(zombie.commit(epochOf(1, 0))).rejects.toMatchObject({
      code: 'FENCED',
      details: { resource: 'transactional id job' },
    })
    await heir.commit(epochOf(0, 2))
    await heir.commit(epochOf(1, 0))
    expect(client.valuesOf('t')).toHaveLength(2)
  })

  it('fails where epochs that were delivered are not noted, and goes on only where that is wanted', async () => {
    const client = brokers()
    const open = (more: object) =>
      kafkaSink(transactional(client, more)).open({ prepared: [epochOf(3, 2)], state: stateWith(outputs) })
    await expect(open({})).rejects.toMatchObject({
      code: 'RESTORE_FAILED',
      message: expect.stringContaining('epoch 3'),
    })
    expect(client.valuesOf('t')).toEqual([])
    await open({ onLostOutputs: 'continue' })
    expect(client.valuesOf('t')).toHaveLength(2)
  })

  it('does not wait for what does not pass', async () => {
    const client = brokers()
    client.failures.push(['send', Object.assign(new Error('the message is too large'), { code: 10 })])
    const opening = kafkaSink(transactional(client)).open({
      prepared: [epochOf(0, 2)],
      state: stateWith(outputs),
    })
    await expect(opening).rejects.toMatchObject({
      code: 'STORAGE_ERROR',
      message: 'Kafka topic t: cannot write a transaction: the message is too large',
    })
  })
})

describe('a sink of a Kafka topic', () => {
  it('J4: gives each output its id in a header, in the idempotent form, and the same one when it comes again', async () => {
    const client = brokers()
    const encode = ({ n }: Output) => ({ key: `${n}`, value: `v${n}`, headers: { own: 'x' } })
    const sink = kafkaSink<Output>({ client, topic: 't', guarantee: 'idempotent', encode, idHeader: 'id' })
    client.failures.push(['send', new Error('connection lost')])
    for (let i = 0; i < 2; i++) {
      const state = stateWith([{ n: 7 }])
      const writer = await sink.open({ prepared: [epochOf(4, 1)], state })
      await writer.close()
    }
    const found = client.messagesOf('t').map(({ key, value, headers }) => ({
      key: textOf(key),
      value: textOf(value),
      headers: Object.fromEntries(Object.entries(headers).map(([name, text]) => [name, textOf(text)])),
    }))
    const expected = { key: '7', value: 'v7', headers: { own: 'x', id: 'l-4-0' } }
    expect(found).toEqual([expected, expected])
  })

  it('leaves no producer open, and keeps the one at hand, where an attempt that was given up fails late', async () => {
    const client = brokers()
    const hung: ((error: Error) => void)[] = []
    const producers = watchedProducers(client, (send) => {
      // Two attempts wait for the first producer: one is told at once, the other one when a third one was successful.
      if (producers.open.length > 1) return send()
      return new Promise((_, reject) => {
        hung.push(reject)
        if (hung.length === 2) hung[0]?.(new Error('connection lost'))
      })
    })
    const sink = kafkaSink<Output>({ client, topic: 't', guarantee: 'idempotent', answerWithinMs: 5 })
    const writer = await sink.open({ prepared: [epochOf(0, 1)], state: stateWith([{ n: 0 }]) })
    for (const reject of hung) reject(new Error('connection lost'))
    await turn()
    expect(producers.open).toEqual([false, true])
    await writer.close()
    expect(producers.open).toEqual([false, false])
  })

  it.each(['before', 'after'])('closes a producer that comes late, %s the sink is closed', async (when) => {
    const client = brokers()
    const producers = watchedProducers(client, (send) => send())
    const open = client.openProducer.bind(client)
    let arrive = () => {}
    const late = new Promise<void>((resolve) => {
      arrive = resolve
    })
    let asked = 0
    client.openProducer = async () => {
      if (asked++ === 0) await late
      return await open()
    }
    const sink = kafkaSink<Output>({ client, topic: 't', guarantee: 'idempotent', answerWithinMs: 5 })
    const writer = await sink.open({ prepared: [epochOf(0, 1)], state: stateWith([{ n: 0 }]) })
    if (when === 'after') await writer.close()
    arrive()
    await turn()
    await writer.close()
    expect(producers.open).toEqual([false, false])
    expect(client.valuesOf('t')).toHaveLength(1)
  })

  it('says that a client cannot be relied on, and what there is instead', () => {
    const client = platformaticKafkaClient({})
    expect(() => kafkaSink({ client, topic: 't', guarantee: 'transactional', transactionalId: 'x' })).toThrow(
      /guarantee must be 'idempotent': .*@platformatic\/kafka/,
    )
    expect(kafkaSink({ client, topic: 't', guarantee: 'idempotent' }).guarantee).toBe('idempotent')
  })

  it('lists everything that is wrong with the options', () => {
    const wrong = { client: {}, topic: '', guarantee: 'x', transactionalId: '', encode: 1, idHeader: 1 }
    expect(() => kafkaSink(wrong as never)).toThrow(
      /client.*topic.*guarantee.*transactionalId.*encode.*idHeader is unknown/s,
    )
    const client = kafkajsClient({} as never)
    expect(() => kafkaSink({ client, topic: 't', guarantee: 'transactional' } as never)).toThrow(
      /transactionalId is required/,
    )
  })
})
