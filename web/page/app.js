import { makeApi, RefusedError, UnavailableError } from "../client/api.js";
import { readConfig } from "./config.js";
import { addEarlyRead, addSwap, checkLatest, isCounterId, makeCounter, readCounterId } from "../client/counter.js";
import { setText } from "./elements.js";
import { keepState, readLastState } from "../client/last-states.js";
import { makeOutbox } from "../client/outbox.js";
import { startPolling } from "../client/polling.js";
import { openStore } from "../client/store.js";
import { startClock } from "./time.js";
import * as view from "./view.js";

/** Another tab can block the store. */
const ADOPTION_TIMEOUT_MS = 3_000;
/** While the page is visible, it reads the counter more often than this. */
const MAX_AGE_MS = 90_000;

async function start({ apiUrl, maxIncrement }) {
  const api = { ...makeApi(apiUrl), root: apiUrl };
  // The first read does not wait for the store. The stored clicks are checked after the read.
  let earlyId = readShownId();
  const earlyRead = !document.hidden && isCounterId(earlyId) ? api.get(earlyId, "") : null;
  earlyRead?.catch(() => {});
  const outbox = makeOutbox(api, openStore([undefined, apiUrl]), { onRecorded, onRefused, onChange: show });
  let shownId = null;
  let counter = null;
  let lastState = null;
  let isRestLoading = false;
  let showPanels = null;
  let polling = null;
  let readError = null;
  let hasClicked = false;
  let refusal = "";

  function show() {
    const isReadable = !(readError instanceof UnavailableError);
    const state = counter?.state && { ...lastState, ...counter.state };
    const isCurrent = Boolean(state) && !readError && Date.now() - state.at < MAX_AGE_MS;
    const hint = isReadable ? "" : "We’ll show the number when the connection is back.";
    view.showCounter(counter, state ?? lastState, isCurrent, counter && !readError ? "Loading…" : hint);
    view.showConnection(isReadable && !outbox.countWaiting(), outbox.countWaiting(), outbox.hasUnsaved());
    setText(view.page.problem, refusal || (isReadable && readError?.message) || "");
    view.page.details.hidden = !counter || readError instanceof RefusedError;
    // Load the rest of the page once there is a number, or once there is no number to wait for.
    if (state || readError || !counter) loadRest();
  }

  /** Show the counter that the address names. Poll it while the page is visible. */
  function follow() {
    const id = readShownId();
    polling?.stop();
    readError = null;
    if (id !== shownId) openCounter(id);
    polling = counter && !document.hidden ? startPolling(counter, onRefresh) : null;
    if (!document.hidden) outbox.adopt();
    show();
  }

  function openCounter(id) {
    shownId = id;
    const early = addEarlyRead(api, id === earlyId ? earlyRead : null);
    counter = isCounterId(id) ? addSwap(makeCounter(id, early, outbox, checkLatest), api) : null;
    earlyId = null;
    lastState = counter && readLastState(api.buildUrl(id, ""));
    showPanels?.(counter && id);
    refusal = counter ? "" : `“${id}” isn’t a valid name. Use letters, digits and . _ ~ - (up to 64).`;
    setText(view.page.swapped, "");
  }

  function onRefresh(error) {
    readError = error;
    if (!error) {
      lastState = keepState(api.buildUrl(counter.id, ""), counter.state);
      showPanels?.(counter.id, counter.state.version, hasClicked);
      hasClicked = counter.getPending().length > 0;
    }
    show();
  }

  /** Load and start the parts of the page that the first number does not need. */
  async function loadRest() {
    if (isRestLoading) return;
    isRestLoading = true;
    try {
      const [{ bindPanels }, { bindSuggestions }, { cachePage }] = await Promise.all([
        import("./panels.js"),
        import("./suggestions.js"),
        import("./offline-cache.js"),
        view.loadStyle(),
      ]);
      showPanels = bindPanels(api);
      showPanels(counter && shownId, counter?.state?.version);
      bindSuggestions(api);
      cachePage();
    } catch {
      view.page.details.textContent = "Can’t load the details. Reload the page.";
    }
  }

  function onRecorded() {
    refusal = "";
    hasClicked = true;
    polling?.wake();
  }

  function onRefused(click, error) {
    refusal = `Not added to ${click.counterId}: ${error.message}`;
  }

  async function swap(by) {
    const target = counter;
    const { swapped } = view.page;
    setText(swapped, "");
    const answer = target.swap(by);
    const before = view.format(target.openSwap.value);
    const [text, className] = await answer.then(
      ({ value }) => [`Added: ${before} → ${view.format(value)}`, "notice done"],
      (error) => [explain(error), "notice"],
    );
    if (counter === target) setText(Object.assign(swapped, { className }), text);
    hasClicked = true;
    follow();
  }

  Object.assign(view.page.api, { href: `${apiUrl}/`, hidden: false });
  view.bindCommands((by) => outbox.add(counter.id, by), swap);
  view.bindOptions();
  view.bindPicker((text) => (location.hash = `#/${readCounterId(text)}`));
  startClock();
  if (maxIncrement) view.page.by.max = maxIncrement;
  view.page.insecure.hidden = isSecureContext;
  await Promise.race([outbox.adopt(), new Promise((resolve) => setTimeout(resolve, ADOPTION_TIMEOUT_MS))]);
  addEventListener("hashchange", follow);
  document.addEventListener("visibilitychange", follow);
  addEventListener("online", () => {
    outbox.retryNow();
    follow();
  });
  addEventListener("beforeunload", (event) => outbox.hasUnsaved() && event.preventDefault());
  setInterval(() => document.hidden || outbox.adopt(), 30_000);
  follow();
}

function readShownId() {
  return readCounterId(location.hash) || "clicks";
}

function explain(error) {
  const current = error.problem?.current;
  if (current) {
    return `Not added: someone else got there first. The value is now ${view.format(current.value)}.`;
  }
  if (!(error instanceof UnavailableError)) return `Not added: ${error.message}`;
  return "We don’t know if it was counted. Check again: it can’t count twice.";
}

try {
  await start(readConfig());
} catch (error) {
  view.page.details.hidden = true;
  setText(view.page.problem, error.message);
}
