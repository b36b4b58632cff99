import { stateSurvivesPartitions } from './partitions.js'

stateSurvivesPartitions('valkey')
