/** Compute a random delay that grows with the failures: up to `maxMs` more than the API’s Retry-After. */
export function pickBackoffMs(failures, retryAfterMs, firstMs = 500, maxMs = 8_000) {
  return retryAfterMs + (0.2 + 0.8 * Math.random()) * Math.min(maxMs, firstMs * 2 ** (failures - 1));
}

/** Wait for this time, or until the signal aborts. */
export function pause(ms, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(finish, signal.aborted ? 0 : ms);
    signal.addEventListener("abort", finish);
    function finish() {
      clearTimeout(timer);
      signal.removeEventListener("abort", finish);
      resolve();
    }
  });
}
