import { checkpointsSurviveKills } from './checkpoint-kills.js'
import { unfinishedUploads } from './s3-uploads.js'

checkpointsSurviveKills('versitygw', {
  victims: ['process', 'server', 'process', 'both'],
  unfinished: unfinishedUploads,
})
