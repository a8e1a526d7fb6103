const FIRST_MS = 500;
const LONGEST_MS = 8_000;

/** How long to wait after so many failures: never less than the API asked for, and at random, lest all come at once. */
export function backoffMs(failures, retryAfterMs) {
  return retryAfterMs + (0.2 + 0.8 * Math.random()) * Math.min(LONGEST_MS, FIRST_MS * 2 ** (failures - 1));
}

/** The time has passed, or the signal came. */
export function pause(ms, signal) {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    if (signal?.aborted) done();
    signal?.addEventListener("abort", done);
  });
}
