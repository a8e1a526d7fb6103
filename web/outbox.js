import { UnavailableError } from "./api.js";
import { computeBackoffMs } from "./backoff.js";

/** Browsers open six connections to a host that speaks HTTP/1.1. */
const MAX_CONCURRENT = 5;

/**
 * Make the outbox: the increments of this browser, from the click until they are known to be counted, over reloads.
 *
 * Each click is sent with its own key until the API accepts or refuses it. While the API cannot be reached, all clicks
 * wait, and then one is sent first, of another counter if possible. `listener` has `onRecorded`, `onRefused` and
 * `onChange`.
 */
export function makeOutbox(api, store, listener) {
  const clicks = new Map();
  const unsent = [];
  let sending = 0;
  let failures = 0;
  let notBefore = 0;
  let timer = null;

  function track(click) {
    clicks.set(click.key, click);
    if (!click.event) unsent.push(click);
  }

  /** Forget the click: it is part of the value shown, or never will be. */
  function forget({ key }) {
    clicks.delete(key);
    store.remove(key);
  }

  function sendNext() {
    while (!timer && unsent.length && sending < (failures ? 1 : MAX_CONCURRENT)) send(unsent.shift());
    listener.onChange();
  }

  async function send(click) {
    const isSameCounter = ({ counterId }) => counterId === click.counterId;
    sending++;
    try {
      const { event_id: id, recorded_at: recordedAt } = await api.increment(click.counterId, click.key, click.by);
      click.event = { id, recordedAt };
      store.put(click);
      failures = 0;
      listener.onRecorded();
    } catch (error) {
      if (error instanceof UnavailableError) {
        unsent.push(click);
        // A counter that keeps failing does not delay other counters.
        unsent.sort((a, b) => isSameCounter(a) - isSameCounter(b));
        notBefore = Math.max(notBefore, Date.now() + error.retryAfterMs);
        // Concurrent requests that fail together are one failure.
        if (!timer) failures++;
        scheduleRetry(computeBackoffMs(failures, notBefore - Date.now()));
      } else {
        forget(click);
        listener.onRefused(click, error);
      }
    }
    sending--;
    sendNext();
  }

  function scheduleRetry(ms) {
    clearTimeout(timer);
    timer = setTimeout(() => {
      timer = null;
      sendNext();
    }, ms);
  }

  return {
    /** Return the increments of this counter that are in the outbox. A recorded one has its `event`. */
    getClicks: (counterId) => [...clicks.values()].filter((click) => click.counterId === counterId),

    /** Count the clicks that wait for a retry. */
    countWaiting: () => (timer ? unsent.length + sending : 0),

    /** Whether clicks would be lost if the page closed. */
    hasUnsaved: () => !store.isPersistent() && unsent.length + sending > 0,

    /** Store an increment and send it. */
    add(counterId, by) {
      const click = { key: crypto.randomUUID(), counterId, by, at: Date.now() };
      store.put(click);
      track(click);
      sendNext();
    },

    /** Take over the clicks that closed tabs have left. */
    async adopt() {
      for (const click of await store.adopt()) if (!clicks.has(click.key)) track(click);
      sendNext();
    },

    forget,

    /** Retry as soon as the API allows, because the network is back. */
    retryNow() {
      if (timer) scheduleRetry(notBefore - Date.now());
    },
  };
}
