import { checkpointsSurviveKills } from './checkpoint-kills.js'
import { makeBucket, unfinishedUploads } from './s3-uploads.js'

// It keeps everything in memory: only the process that writes to it is killed.
checkpointsSurviveKills('moto', {
  victims: ['process'],
  prepare: makeBucket,
  unfinished: unfinishedUploads,
})
