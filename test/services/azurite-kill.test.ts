import { checkpointsSurviveKills } from './checkpoint-kills.js'
import { containerAt } from './children/checkpoint-places.js'

// It saves what it knows of blobs every few seconds, and when it is ended: killed, it forgets acknowledged writes. Blocks that make no blob are
// not told apart from others there, and forgotten after a week.
checkpointsSurviveKills('azurite', {
  victims: ['process', 'server', 'process', 'both'],
  serverEndsBy: 'end',
  prepare: async (address) => void (await containerAt(address).createIfNotExists()),
})
