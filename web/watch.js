import { UnavailableError } from "./api.js";
import { backoffMs, pause } from "./waiting.js";

const PENDING_MS = 400;
const IDLE_MS = 5_000;
const LONGEST_IDLE_MS = 60_000;
const GROWTH = 1.5;

/**
 * Keeps one counter fresh until it is stopped: often while something is pending, ever more seldom while it stands.
 * Calls back after each attempt, with what went wrong or null.
 */
export function watch(counter, onRefresh) {
  const stop = new AbortController();
  let wake = stop;
  let quiet = 0;
  // What is not even recorded is no reason to look.
  const isPending = () => counter.pending().some((click) => click.event);

  async function run({ signal }) {
    for (let failures = 0; !signal.aborted; ) {
      const version = counter.state?.version;
      wake = new AbortController();
      const error = await counter.refresh(signal).then(() => null, (caught) => caught);
      if (signal.aborted) return;
      onRefresh(error);
      failures = error ? failures + 1 : 0;
      quiet = counter.state?.version === version ? quiet + 1 : 0;
      if (error instanceof UnavailableError) {
        await pause(backoffMs(failures, error.retryAfterMs), signal);
      } else {
        const growth = GROWTH ** quiet;
        const first = isPending() ? Math.min(PENDING_MS * growth, IDLE_MS) - PENDING_MS : IDLE_MS * growth;
        await pause(Math.min(first, LONGEST_IDLE_MS), wake.signal);
        if (isPending()) await pause(PENDING_MS, signal);
      }
    }
  }

  run(stop);
  return {
    /** Something is recorded: look soon, and often again. */
    wake() {
      quiet = 0;
      wake.abort();
    },
    stop() {
      stop.abort();
      wake.abort();
    },
  };
}
