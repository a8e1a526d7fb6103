/** How long to wait after so many failures: never less than the API asked for, and at random, lest all come at once. */
export function backoffMs(failures, retryAfterMs) {
  return retryAfterMs + (0.2 + 0.8 * Math.random()) * Math.min(8_000, 500 * 2 ** (failures - 1));
}

/** The time has passed, or the signal came. */
export function pause(ms, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(done, signal.aborted ? 0 : ms);
    signal.addEventListener("abort", done);
    function done() {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    }
  });
}
