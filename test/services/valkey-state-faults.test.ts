import { redisStateSurvives } from './redis-state-faults.js'

redisStateSurvives('valkey')
