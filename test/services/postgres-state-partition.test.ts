import { stateSurvivesPartitions } from './partitions.js'

stateSurvivesPartitions('postgres')
