import { makeKey, UnavailableError } from "./api.js";
import { pickBackoffMs } from "./backoff.js";

/** Browsers open at most six connections to an HTTP/1.1 host. */
const MAX_CONCURRENT = 5;

/**
 * Make the outbox, which keeps this browser's increments across reloads until they are known to be counted.
 *
 * Each click is sent with its own key until the API accepts or refuses it. The first of several clicks is sent alone:
 * its preflight serves the others. After a failure, all clicks wait. Then a single click is sent first, if possible for
 * another counter.
 */
export function makeOutbox(api, store, listener) {
  const clicks = new Map();
  const unsent = [];
  let sending = 0;
  let accepted = null;
  let failures = 0;
  let notBefore = 0;
  let timer = null;

  function track(click) {
    clicks.set(click.key, click);
    if (!click.event) unsent.push(click);
  }

  /** Forget a click that the value shown includes, or never will include. */
  function forget({ key }) {
    clicks.delete(key);
    store.erase(key);
  }

  function sendNext() {
    const canSend = () => sending < (unsent[0].counterId === accepted ? MAX_CONCURRENT : 1);
    while (!timer && unsent.length && canSend()) send(unsent.shift());
    if (!sending) accepted = null;
    listener.onChange();
  }

  async function send(click) {
    const isSame = ({ counterId }) => counterId === click.counterId;
    sending++;
    try {
      const { event_id: id, recorded_at: recordedAt } = await api.increment(click.counterId, click.key, click.by);
      click.event = { id, recordedAt };
      store.save(click);
      failures = 0;
      accepted = click.counterId;
      listener.onRecorded(click);
    } catch (error) {
      if (error instanceof UnavailableError) {
        accepted = null;
        unsent.push(click);
        // A failing counter does not delay others.
        unsent.sort((a, b) => isSame(a) - isSame(b));
        notBefore = Math.max(notBefore, performance.now() + error.retryAfterMs);
        // Concurrent failures count as one.
        if (!timer) failures++;
        scheduleRetry(pickBackoffMs(failures, notBefore - performance.now()));
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
    /** Return the counter's clicks; a recorded click has an `event`. */
    getClicks: (counterId) => [...clicks.values()].filter((click) => click.counterId === counterId),

    /** Count the clicks that wait for a retry. */
    countWaiting: () => timer && unsent.length + sending,

    /** Check whether closing the page would lose clicks. */
    hasUnsaved: () => !store.isPersistent() && unsent.length + sending > 0,

    /** Add a click and return it. If there already is a click with this key, return that click. */
    add(counterId, by, chosenKey) {
      const key = chosenKey || makeKey();
      if (clicks.has(key)) return clicks.get(key);
      const click = { key, counterId, by, at: Date.now() };
      store.save(click);
      track(click);
      sendNext();
      return click;
    },

    /** Take over the clicks of closed tabs. */
    async adopt() {
      for (const click of await store.adopt()) if (!clicks.has(click.key)) track(click);
      sendNext();
    },

    forget,

    /** Retry as soon as the API allows. */
    retryNow() {
      if (timer) scheduleRetry(notBefore - performance.now());
    },
  };
}
