import { stateSurvivesPartitions } from './partitions.js'

stateSurvivesPartitions('redis')
