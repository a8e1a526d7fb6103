import { RefusedError } from "./api.js";

/** "." and ".." are good ids too, but a browser takes them out of every address. */
export function isCounterId(text) {
  return /^(?!\.{1,2}$)[A-Za-z0-9._~-]{1,64}$/.test(text);
}

/** One counter as this page knows it: what the API counted, and the increments made here that are not part of it. */
export class Counter {
  /** The state that is shown: `value`, `version`, `updated_at`; null until the API has answered. */
  state = null;
  #api;
  #outbox;
  #pending = new Set();

  constructor(id, api, outbox) {
    this.id = id;
    this.#api = api;
    this.#outbox = outbox;
  }

  /** How many increments made here are not known to be part of the value shown. */
  get pending() {
    return this.#pending.size;
  }

  /** One more is pending at once; returns when it is recorded. Throws RefusedError, and then it is no longer pending. */
  async increment() {
    const event = { url: null, counted: false, absentFrom: null };
    this.#pending.add(event);
    try {
      event.url = await this.#outbox.send(this.id);
    } catch (error) {
      this.#pending.delete(event);
      throw error;
    }
  }

  /**
   * Read the state anew, and in the same step cease to call pending what the new value contains.
   *
   * Value and events come in answers of their own, between which the counter moves on. An event found counted before
   * the value was read is part of it; one found pending after is not. Whichever fits neither: read the value again.
   */
  async refresh(signal) {
    let state = this.state;
    for (let moved = true; moved; ) {
      state = (await this.#api.counter(this.id, state?.version, signal)) ?? state;
      moved = false;
      for (let open; !moved && (open = this.#notKnownToBeIn(state.version)).length; ) {
        await Promise.all(open.map((event) => this.#check(event, state.version, signal)));
        moved = open.some((event) => event.counted);
      }
    }
    this.state = state;
    for (const event of this.#pending) if (event.counted) this.#pending.delete(event);
  }

  /** A version is the number of events counted: as long as it stands, no event need be asked about twice. */
  #notKnownToBeIn(version) {
    return [...this.#pending].filter((event) => event.url && !event.counted && event.absentFrom !== version);
  }

  async #check(event, version, signal) {
    try {
      event.counted = await this.#api.isCounted(event.url, signal);
      event.absentFrom = version;
    } catch (error) {
      // The log was emptied under us: there is nothing left to wait for.
      if (error instanceof RefusedError) this.#pending.delete(event);
      throw error;
    }
  }
}
