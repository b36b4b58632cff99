export {
  HoldfastRateLimiter,
  type HoldfastRateLimiterOptions,
} from './adapters/rate-limiter-flexible/rate-limiter.js'
