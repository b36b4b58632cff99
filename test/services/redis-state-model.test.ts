import { redisStateBehavesAsTheModel } from './redis-state-model.js'

redisStateBehavesAsTheModel('redis')
