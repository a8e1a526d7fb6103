import { Api, UnavailableError } from "./api.js";
import { readApiUrl } from "./config.js";
import { Counter, isCounterId } from "./counter.js";
import { Outbox } from "./outbox.js";
import * as view from "./view.js";
import { Watch } from "./watch.js";

const DEFAULT_COUNTER = "clicks";

function start(apiUrl) {
  const api = new Api(apiUrl);
  const outbox = new Outbox(api, show);
  const counters = new Map();
  let counter = null;
  let watch = null;
  let readError = null;
  let refusal = "";

  function show() {
    const canRead = !(readError instanceof UnavailableError);
    view.showCounter(counter);
    view.showConnection(canRead && !outbox.waiting, outbox.waiting);
    view.showProblem(refusal || (canRead && readError?.message) || "");
  }

  /** The address names another counter, or the page was hidden or is seen again. */
  function follow() {
    const id = counterInAddress();
    watch?.stop();
    readError = null;
    if (counter?.id !== id) refusal = "";
    if (!isCounterId(id)) {
      counter = null;
      refusal = `“${id}” names no counter. A name is 1 to 64 characters of A-Z a-z 0-9 . _ ~ - as in #/${DEFAULT_COUNTER}`;
    } else {
      if (!counters.has(id)) counters.set(id, new Counter(id, api, outbox));
      counter = counters.get(id);
      watch = document.hidden ? null : new Watch(counter, refreshed);
    }
    show();
  }

  function refreshed(error) {
    readError = error;
    show();
  }

  async function increment() {
    const target = counter;
    const recorded = target.increment();
    show();
    try {
      await recorded;
      refusal = "";
      watch?.wake();
    } catch (error) {
      refusal = `An increment of ${target.id} was refused: ${error.message}`;
    }
    show();
  }

  view.showApi(apiUrl);
  view.onIncrement(increment);
  addEventListener("hashchange", follow);
  document.addEventListener("visibilitychange", follow);
  addEventListener("beforeunload", (event) => {
    if (outbox.unanswered) event.preventDefault();
  });
  follow();
}

function counterInAddress() {
  const text = location.hash.replace(/^#\/?/, "");
  try {
    return decodeURIComponent(text) || DEFAULT_COUNTER;
  } catch {
    return text;
  }
}

try {
  start(await readApiUrl());
} catch (error) {
  view.showProblem(error.message);
}
