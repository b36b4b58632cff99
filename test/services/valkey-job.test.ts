import { redisJobHolds } from './redis-job.js'

redisJobHolds('valkey')
