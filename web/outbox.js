import { UnavailableError } from "./api.js";
import { backoffMs } from "./waiting.js";

/** Browsers have six connections to a host that speaks HTTP/1.1. */
const AT_ONCE = 5;

/**
 * The increments made here, from the click until they are known to be counted, over reloads.
 *
 * Each is sent, always with its own key, until the API has accepted or refused it. When that cannot be reached, all
 * wait, and then one goes first, of another counter if there is. `heard` is told what becomes of them.
 */
export function makeOutbox(api, store, heard) {
  const clicks = new Map();
  const unsent = [];
  let sending = 0;
  let failures = 0;
  let notBefore = 0;
  let timer = null;

  function take(click) {
    clicks.set(click.key, click);
    if (!click.event) unsent.push(click);
  }

  function settle({ key }) {
    clicks.delete(key);
    store.remove(key);
  }

  function pump() {
    while (!timer && unsent.length && sending < (failures ? 1 : AT_ONCE)) send(unsent.shift());
    heard.changed();
  }

  async function send(click) {
    const isBeside = ({ counterId }) => counterId === click.counterId;
    sending++;
    try {
      const { event_id: id, recorded_at: recordedAt } = await api.increment(click.counterId, click.key, click.by);
      click.event = { id, recordedAt };
      store.put(click);
      failures = 0;
      heard.recorded();
    } catch (error) {
      if (error instanceof UnavailableError) {
        unsent.push(click);
        // A counter that keeps failing holds up no other.
        unsent.sort((one, other) => isBeside(one) - isBeside(other));
        notBefore = Math.max(notBefore, Date.now() + error.retryAfterMs);
        // What was under way together fails together, once.
        if (!timer) failures++;
        wait(backoffMs(failures, notBefore - Date.now()));
      } else {
        settle(click);
        heard.refused(click, error);
      }
    }
    sending--;
    pump();
  }

  function wait(ms) {
    clearTimeout(timer);
    timer = setTimeout(() => {
      timer = null;
      pump();
    }, ms);
  }

  return {
    /** The increments of this counter that are not settled; `event` is there once one is recorded. */
    of: (counterId) => [...clicks.values()].filter((click) => click.counterId === counterId),

    /** How many wait for the API to be reached. */
    waiting: () => timer && unsent.length + sending,

    /** Whether some would be lost with this page. */
    isAtRisk: () => !store.isKept() && unsent.length + sending > 0,

    /** One more is pending, kept, and on its way. */
    add(counterId, by) {
      const click = { key: crypto.randomUUID(), counterId, by, at: Date.now() };
      store.put(click);
      take(click);
      pump();
    },

    /** What closed tabs left is pending here, and sent if it has to be. */
    async adopt() {
      for (const click of await store.adopt()) if (!clicks.has(click.key)) take(click);
      pump();
    },

    /** It is part of the value shown, or never will be. */
    settle,

    /** The network is back: wait no longer than the API asked for. */
    hurry() {
      if (timer) wait(notBefore - Date.now());
    },
  };
}
