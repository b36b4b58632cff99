import { redisStreamsHold } from './redis-streams.js'

redisStreamsHold('valkey')
