import { UnavailableError } from "./api.js";
import { pickBackoffMs } from "./backoff.js";

const PENDING_MS = 400;
const IDLE_MS = 5_000;
const MAX_IDLE_MS = 60_000;
const GROWTH = 1.5;

/**
 * Refresh the counter until stopped: often while an increment is pending, and less often the longer it is idle.
 *
 * The first attempt, and each that follows a failure, reads the counter itself. Other attempts may read a
 * cached state. Call back after each attempt, with an error if it failed.
 */
export function startPolling(counter, onRefresh) {
  const stop = new AbortController();
  let timer = null;
  let failures = 0;
  let unchanged = 0;
  let canWake = false;
  let mayBeCached = false;

  function schedule(ms) {
    clearTimeout(timer);
    timer = setTimeout(poll, ms);
  }

  async function poll() {
    const version = counter.state?.version;
    canWake = false;
    const error = await counter.refresh(stop.signal, mayBeCached).catch((caught) => caught);
    if (!stop.signal.aborted) onRefresh(error);
    if (stop.signal.aborted) return;
    mayBeCached = !error;
    failures = error ? failures + 1 : 0;
    unchanged = counter.state?.version === version ? unchanged + 1 : 0;
    canWake = !(error instanceof UnavailableError);
    const growth = GROWTH ** unchanged;
    // Only a recorded increment can be counted.
    const hasRecorded = counter.getPending().some((click) => click.event);
    if (!canWake) schedule(pickBackoffMs(failures, error.retryAfterMs));
    else schedule(hasRecorded ? Math.min(PENDING_MS * growth, IDLE_MS) : Math.min(IDLE_MS * growth, MAX_IDLE_MS));
  }

  poll();
  return {
    /** Refresh soon and often: an increment was recorded. */
    wake() {
      unchanged = 0;
      if (canWake) schedule(PENDING_MS);
      // Further increments do not delay the refresh.
      canWake = false;
    },
    stop() {
      stop.abort();
      clearTimeout(timer);
    },
  };
}
