import { UnavailableError } from "./api.js";
import { backoffMs, pause } from "./waiting.js";

/** Sends increments, each independently of the others, until the API has accepted or refused them. */
export class Outbox {
  #api;
  #onChange;
  #unanswered = new Set();
  #waiting = new Set();

  /** @param {() => void} onChange called when one begins or ceases to wait */
  constructor(api, onChange) {
    this.#api = api;
    this.#onChange = onChange;
  }

  /** How many were clicked and are not known to be recorded. */
  get unanswered() {
    return this.#unanswered.size;
  }

  /** How many of them failed to get through and will be sent again. */
  get waiting() {
    return this.#waiting.size;
  }

  /** Returns the address of the event once it is recorded; throws RefusedError if it never will be. */
  async send(counterId) {
    const key = crypto.randomUUID();
    this.#unanswered.add(key);
    try {
      for (let failures = 1; ; failures++) {
        try {
          return await this.#api.increment(counterId, key);
        } catch (error) {
          if (!(error instanceof UnavailableError)) throw error;
          this.#waiting.add(key);
          this.#onChange();
          await pause(backoffMs(failures, error.retryAfterMs));
        }
      }
    } finally {
      this.#unanswered.delete(key);
      if (this.#waiting.delete(key)) this.#onChange();
    }
  }
}
