/** Compute a random delay that grows with the number of failures: up to `maxMs` more than the API’s Retry-After. */
export function pickBackoffMs(failures, retryAfterMs, firstMs = 500, maxMs = 8_000) {
  return retryAfterMs + (0.2 + 0.8 * Math.random()) * Math.min(maxMs, firstMs * 2 ** (failures - 1));
}
