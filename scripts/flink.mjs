import * as path from 'node:path'
import {
  findProgram,
  install,
  installDebianPackage,
  installMavenPackages,
  SILENT_LOG,
} from './services/service.mjs'

const VERSION = '2.3.0'

/** Flink as a library, from Maven Central, on Debian's Java; what runs is a program of one file, compiled into `folder`. Returns the command line up to the program's own arguments. */
export function compileForFlink(source, folder) {
  if (findProgram('javac') === undefined) installDebianPackage('openjdk-17-jdk-headless')
  const of = (name) => ['org.apache.flink', name, VERSION]
  const names = ['flink-streaming-java', 'flink-clients', 'flink-statebackend-rocksdb']
  const libraries = `${installMavenPackages(`flink-${VERSION}`, [...names.map(of), SILENT_LOG])}/*`
  install('javac', ['-cp', libraries, '-d', folder, source])
  const opened = ['java.util', 'java.lang'].map((name) => `--add-opens=java.base/${name}=ALL-UNNAMED`)
  const collector = ['-Xmx4g', '-XX:+UseParallelGC']
  return {
    version: VERSION,
    command: findProgram('java'),
    args: [...collector, ...opened, '-cp', `${folder}:${libraries}`, path.basename(source, '.java')],
  }
}
