import { UnavailableError } from "./api.js";
import { backoffMs, pause } from "./waiting.js";

const PENDING_MS = 400;
const IDLE_MS = 5_000;

/** Keeps one counter fresh until it is stopped: often while something is pending, seldom otherwise. */
export class Watch {
  #stop = new AbortController();
  #wake = new AbortController();

  /** @param {(error: Error | null) => void} onRefresh called after each attempt, with what went wrong */
  constructor(counter, onRefresh) {
    this.#run(counter, onRefresh);
  }

  /** Something is pending now: look again soon. */
  wake() {
    this.#wake.abort();
  }

  stop() {
    this.#stop.abort();
    this.wake();
  }

  async #run(counter, onRefresh) {
    const { signal } = this.#stop;
    for (let failures = 0; !signal.aborted; ) {
      let error = null;
      try {
        await counter.refresh(signal);
      } catch (caught) {
        error = caught;
      }
      if (signal.aborted) return;
      onRefresh(error);
      failures = error ? failures + 1 : 0;
      if (error instanceof UnavailableError) {
        await pause(backoffMs(failures, error.retryAfterMs), signal);
      } else {
        this.#wake = new AbortController();
        if (!counter.pending) await pause(IDLE_MS, this.#wake.signal);
        if (counter.pending) await pause(PENDING_MS, signal);
      }
    }
  }
}
