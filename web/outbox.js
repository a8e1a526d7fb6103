import { UnavailableError } from "./api.js";
import { pickBackoffMs } from "./backoff.js";

/** Browsers open six connections to an HTTP/1.1 host. */
const MAX_CONCURRENT = 5;

/**
 * Make the outbox: this browser's increments, from the click until they are known to be counted, across reloads.
 *
 * Each click is sent with its own key until the API accepts or refuses it. After a failure, all wait; then one is sent
 * first, of another counter if possible.
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

  /** Forget a click that the value shown includes, or never will. */
  function forget({ key }) {
    clicks.delete(key);
    store.remove(key);
  }

  function sendNext() {
    while (!timer && unsent.length && sending < (failures ? 1 : MAX_CONCURRENT)) send(unsent.shift());
    listener.onChange();
  }

  async function send(click) {
    const isSame = ({ counterId }) => counterId === click.counterId;
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
        // A failing counter does not delay others.
        unsent.sort((a, b) => isSame(a) - isSame(b));
        notBefore = Math.max(notBefore, Date.now() + error.retryAfterMs);
        // Concurrent failures are one failure.
        if (!timer) failures++;
        scheduleRetry(pickBackoffMs(failures, notBefore - Date.now()));
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
    /** Return the counter's clicks; a recorded one has its `event`. */
    getClicks: (counterId) => [...clicks.values()].filter((click) => click.counterId === counterId),

    /** Count the clicks that wait for a retry. */
    countWaiting: () => timer && unsent.length + sending,

    /** Whether closing the page would lose clicks. */
    hasUnsaved: () => !store.isPersistent() && unsent.length + sending > 0,

    add(counterId, by) {
      const click = { key: crypto.randomUUID(), counterId, by, at: Date.now() };
      store.put(click);
      track(click);
      sendNext();
    },

    /** Take over the clicks of closed tabs. */
    async adopt() {
      for (const click of await store.adopt()) if (!clicks.has(click.key)) track(click);
      sendNext();
    },

    forget,

    /** Retry as soon as the API allows. */
    retryNow() {
      if (timer) scheduleRetry(notBefore - Date.now());
    },
  };
}
