import { openRedisStore } from './redis-store.js'
import { stateSurvivesKills } from './state-kills.js'

stateSurvivesKills('valkey', 'redis', openRedisStore)
