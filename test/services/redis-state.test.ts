import { redisStateHolds } from './redis-state.js'

redisStateHolds('redis')
