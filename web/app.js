import { makeApi, UnavailableError } from "./api.js";
import { readApiUrl } from "./config.js";
import { isCounterId, makeCounter } from "./counter.js";
import { makeDetails } from "./details.js";
import { cachePage } from "./offline-cache.js";
import { makeOutbox } from "./outbox.js";
import * as panels from "./panels.js";
import { startPolling } from "./polling.js";
import { openStore } from "./store.js";
import * as view from "./view.js";

async function start(apiUrl) {
  const api = makeApi(apiUrl);
  const outbox = makeOutbox(api, await openStore(), { onRecorded, onRefused, onChange: show });
  let shownId = null;
  let counter = null;
  let details = null;
  let polling = null;
  let readError = null;
  let refusal = "";

  function show() {
    const isReadable = !(readError instanceof UnavailableError);
    view.showCounter(counter);
    view.showConnection(isReadable && !outbox.countWaiting(), outbox.countWaiting(), outbox.hasUnsaved());
    view.setText(view.page.problem, refusal || (isReadable && readError?.message) || "");
    panels.showDetails(details);
  }

  /** Show the counter that the address names. Poll it while the page is visible. */
  function follow() {
    const id = location.hash.replace(/^#\/?/, "") || "clicks";
    polling?.stop();
    readError = null;
    if (id !== shownId) openCounter(id);
    polling = counter && !document.hidden ? startPolling(counter, onRefresh) : null;
    if (!document.hidden) outbox.adopt();
    show();
  }

  function openCounter(id) {
    details?.stop();
    shownId = id;
    counter = isCounterId(id) ? makeCounter(id, api, outbox) : null;
    details = counter && makeDetails(id, api, show);
    refusal = counter ? "" : `“${id}” isn’t a valid name. Use letters, digits and . _ ~ - (up to 64).`;
    view.setText(view.page.swapped, "");
  }

  function onRefresh(error) {
    readError = error;
    if (!error) details.update(counter.state.version);
    show();
  }

  function onRecorded() {
    refusal = "";
    polling?.wake();
  }

  function onRefused(click, error) {
    refusal = `An increment of ${click.counterId} was refused: ${error.message}`;
  }

  async function swap(by) {
    const target = counter;
    const { swapped } = view.page;
    view.setText(swapped, "");
    const answer = target.swap(by);
    const before = view.format(target.openSwap.value);
    const [text, className] = await answer.then(
      ({ value }) => [`Added: ${before} → ${view.format(value)}`, "done"],
      (error) => [explain(error), ""],
    );
    if (counter === target) view.setText(Object.assign(swapped, { className }), text);
    follow();
  }

  Object.assign(view.page.api, { href: `${apiUrl}/`, hidden: false });
  view.bindCommands((by) => outbox.add(counter.id, by), swap, (id) => (location.hash = `#/${id}`));
  panels.bindRanges((range) => details.chooseRange(range));
  panels.bindCopyButtons();
  await outbox.adopt();
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

function explain(error) {
  if (error.current) {
    return `Not added: someone else got there first. The value is ${view.format(error.current.value)} now.`;
  }
  if (!(error instanceof UnavailableError)) return `Not added: ${error.message}`;
  return "We don’t know if it was counted. Check again: it can’t count twice.";
}

try {
  await start(await readApiUrl());
  cachePage();
} catch (error) {
  view.setText(view.page.problem, error.message);
}
