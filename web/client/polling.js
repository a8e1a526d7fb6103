import { UnavailableError } from "./api.js";
import { pickBackoffMs, pause } from "./backoff.js";

const PENDING_MS = 400;
const IDLE_MS = 5_000;
const MAX_IDLE_MS = 60_000;
const GROWTH = 1.5;

/**
 * Refresh the counter until stopped: often while an increment is pending, less and less often while idle.
 *
 * The first attempt, and each that follows a failure, reads the counter itself. Others may read a cached state.
 * Call back after each attempt, with the error or null.
 */
export function startPolling(counter, onRefresh) {
  const stop = new AbortController();
  let wake = stop;
  let unchanged = 0;
  // Only a recorded increment can be counted.
  const hasRecorded = () => counter.getPending().some((click) => click.event);

  async function run({ signal }) {
    let mayBeCached = false;
    for (let failures = 0; !signal.aborted; ) {
      const version = counter.state?.version;
      wake = new AbortController();
      const error = await counter.refresh(signal, mayBeCached).then(() => null, (caught) => caught);
      if (signal.aborted) return;
      onRefresh(error);
      mayBeCached = !error;
      failures = error ? failures + 1 : 0;
      unchanged = counter.state?.version === version ? unchanged + 1 : 0;
      if (error instanceof UnavailableError) {
        await pause(pickBackoffMs(failures, error.retryAfterMs), signal);
      } else {
        const growth = GROWTH ** unchanged;
        const idleMs = hasRecorded() ? Math.min(PENDING_MS * growth, IDLE_MS) - PENDING_MS : IDLE_MS * growth;
        await pause(Math.min(idleMs, MAX_IDLE_MS), wake.signal);
        if (hasRecorded()) await pause(PENDING_MS, signal);
      }
    }
  }

  run(stop);
  return {
    /** Refresh soon and often: an increment was recorded. */
    wake() {
      unchanged = 0;
      wake.abort();
    },
    stop() {
      stop.abort();
      wake.abort();
    },
  };
}
