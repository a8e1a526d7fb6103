import { makeApi } from "../client/api.js";
import { isCounterId, makeCounter } from "../client/counter.js";
import { keepState, readLastState } from "../client/last-states.js";
import { makeOutbox } from "../client/outbox.js";
import { startPolling } from "../client/polling.js";
import { openStore } from "../client/store.js";
import { chooseKey, confirmKey, readKey } from "./once.js";

const ADOPTION_INTERVAL_MS = 30_000;
const { document } = globalThis;
const clients = new Map();

/** Return the counter of the API with this address. The same arguments return the same object. */
export function counter(api, id) {
  if (!api || !isCounterId(id)) throw new TypeError(`No counter “${id}” at “${api}”.`);
  const root = new URL(api, document?.baseURI).href.replace(/\/+$/, "");
  return getOrMake(clients, root, connect)(id);
}

/** Connect to an API, all of whose counters share one outbox. Return the function that opens a counter. */
function connect(root) {
  const api = makeApi(root);
  const counters = new Map();
  const getAddress = (id) => api.buildUrl(id, "");
  const outbox = makeOutbox(api, openStore([root]), {
    onChange: () => counters.forEach(({ show }) => show()),
    onRecorded(click) {
      confirmKey(getAddress(click.counterId), click.key);
      click.resolve?.(click.event);
      // Without a subscriber, no poll would see that the click is counted.
      if (!counters.get(click.counterId)?.wake()) outbox.forget(click);
    },
    onRefused: (click, error) => click.reject?.(error),
  });

  const adopt = () => document?.hidden || outbox.adopt();
  const resume = () => {
    adopt();
    outbox.retryNow();
    counters.forEach(({ follow }) => follow());
  };
  adopt();
  if (document) {
    setInterval(adopt, ADOPTION_INTERVAL_MS);
    document.addEventListener("visibilitychange", resume);
    addEventListener("online", resume);
  }

  function open(id) {
    const address = getAddress(id);
    const model = makeCounter(id, api, outbox);
    const subscribers = new Set();
    let last = readLastState(address);
    let isFresh = false;
    let error = null;
    let polling = null;

    /** Poll while there is a subscriber and the page is visible. */
    function follow() {
      polling?.stop();
      polling = subscribers.size && !document?.hidden ? startPolling(model, onRefresh) : null;
      show();
    }

    /** Poll soon. Return whether there is a subscriber. */
    function wake() {
      polling?.wake();
      return subscribers.size;
    }

    function onRefresh(caught) {
      error = caught ?? null;
      isFresh = !error;
      if (isFresh) last = keepState(address, model.state);
      show();
    }

    function show() {
      const clicks = model.getPending();
      const pending = clicks.reduce((sum, { by }) => sum + by, 0);
      const isWaiting = !!outbox.countWaiting() && clicks.some(({ event }) => !event);
      const state = { value: null, ...last, isFresh, pending, isWaiting, isSaved: !outbox.hasUnsaved(), error };
      // An async function turns a callback's error into an unhandled rejection. A thrown error would stop the client.
      subscribers.forEach(async (callback) => callback(state));
    }

    async function increment(by = 1, { once } = {}) {
      const key = once && (await chooseKey(address, once));
      if (key === true) return null;
      const click = outbox.add(id, by, key);
      const settle = (resolve, reject) => Object.assign(click, { resolve, reject });
      return click.event ?? (click.recorded ??= new Promise(settle));
    }

    function isCounted(once) {
      return [true, ...model.getPending().map(({ key }) => key)].includes(readKey(address, once));
    }

    function subscribe(callback) {
      subscribers.add(callback);
      if (polling) show();
      else follow();
      return () => subscribers.delete(callback) && !subscribers.size && follow();
    }

    return { follow, wake, show, shared: { increment, read: () => api.get(id, ""), subscribe, isCounted } };
  }

  return (id) => getOrMake(counters, id, open).shared;
}

function getOrMake(map, key, make) {
  if (!map.has(key)) map.set(key, make(key));
  return map.get(key);
}
