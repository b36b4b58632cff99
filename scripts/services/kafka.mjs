import { spawnSync } from 'node:child_process'
import * as fs from 'node:fs'
import * as path from 'node:path'
import {
  findProgram,
  freePort,
  installDebianPackage,
  installMavenPackages,
  Server,
  SILENT_LOG,
} from './service.mjs'

// 4.3 and 4.4 may lose a transaction that was committed where a partition has no leader for a moment (KAFKA-20734).
const VERSION = '4.2.2'
const CLUSTER_ID = 'AAAAAAAAAAAAAAAAAAAAAA'

/** Who may come in, where a password is asked for. */
const USER = 'job'

const openListeners = (
  port,
  controllerPort,
) => `listeners=PLAINTEXT://127.0.0.1:${port},CONTROLLER://127.0.0.1:${controllerPort}
`

/** Clients come in by TLS with a password, PLAIN or SCRAM. What the broker says to itself goes past that. */
const securedListeners = (
  port,
  controllerPort,
  innerPort,
  { keystore, password },
) => `listeners=SASL_SSL://127.0.0.1:${port},INNER://127.0.0.1:${innerPort},CONTROLLER://127.0.0.1:${controllerPort}
listener.security.protocol.map=SASL_SSL:SASL_SSL,INNER:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=INNER
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256
listener.name.sasl_ssl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_${USER}="${password}";
listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
ssl.keystore.type=PEM
ssl.keystore.location=${keystore}
`

/** One broker that is its own controller; internal topics have one partition, so that it starts and ends quickly. */
const propertiesOf = (listeners, controllerPort, folder) => `process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:${controllerPort}
${listeners}controller.listener.names=CONTROLLER
log.dirs=${path.join(folder, 'logs')}
auto.create.topics.enable=false
num.partitions=1
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
# One that was killed is forgotten soon, so that it may come back.
broker.heartbeat.interval.ms=200
broker.session.timeout.ms=1500
log.retention.check.interval.ms=1000
# What is acknowledged survives a kill of the process; a power cut is not what is tested.
log.flush.interval.messages=10000
`

/** The folder of the broker's jars. */
const libraries = () =>
  installMavenPackages(`kafka-${VERSION}`, [
    ['org.apache.kafka', 'kafka_2.13', VERSION],
    ['org.apache.kafka', 'kafka-tools', VERSION],
    SILENT_LOG,
  ])

/** Kafka in KRaft mode, from Maven Central, on Debian's Java. */
export const kafka = {
  name: 'kafka',
  prepare() {
    if (findProgram('java') === undefined) installDebianPackage('openjdk-17-jre-headless')
    libraries()
  },
  async create({ port, folder, secure }) {
    const properties = path.join(folder, 'server.properties')
    const classes = ['-cp', `${libraries()}/*`]
    const controllerPort = await freePort()
    const format = ['format', '--standalone', '-t', CLUSTER_ID, '-c', properties]
    let listeners = openListeners(port, controllerPort)
    if (secure !== undefined) {
      const { certificate, key, password } = secure
      const keystore = path.join(folder, 'keystore.pem')
      fs.writeFileSync(keystore, fs.readFileSync(key, 'utf8') + fs.readFileSync(certificate, 'utf8'))
      listeners = securedListeners(port, controllerPort, await freePort(), { keystore, password })
      format.push('--add-scram', `SCRAM-SHA-256=[name=${USER},password=${password}]`)
    }
    fs.writeFileSync(properties, propertiesOf(listeners, controllerPort, folder))
    const java = findProgram('java')
    const formatted = spawnSync(java, [...classes, 'kafka.tools.StorageTool', ...format], {
      encoding: 'utf8',
    })
    if (formatted.status !== 0)
      throw new Error(`Kafka's storage could not be made: ${formatted.error?.message ?? formatted.stderr}`)
    return new Server({
      name: 'kafka',
      command: java,
      args: ['-Xmx512m', '-XX:TieredStopAtLevel=1', ...classes, 'kafka.Kafka', properties],
      port,
      folder,
      address: `127.0.0.1:${port}`,
    })
  },
}
