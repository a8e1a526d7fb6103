import { makeApi, UnavailableError } from "./api.js";
import { readApiUrl } from "./config.js";
import { isCounterId, makeCounter } from "./counter.js";
import { makeDetails } from "./details.js";
import { keepPage } from "./keep.js";
import { makeOutbox } from "./outbox.js";
import * as panels from "./panels.js";
import { openStore } from "./store.js";
import * as view from "./view.js";
import { watch } from "./watch.js";

async function start(apiUrl) {
  const api = makeApi(apiUrl);
  const outbox = makeOutbox(api, await openStore(), { recorded, refused, changed: show });
  let shownId = null;
  let counter = null;
  let details = null;
  let watching = null;
  let readError = null;
  let refusal = "";

  function show() {
    const canRead = !(readError instanceof UnavailableError);
    view.showCounter(counter);
    view.showConnection(canRead && !outbox.waiting(), outbox.waiting(), outbox.isAtRisk());
    view.put(view.page.problem, refusal || (canRead && readError?.message) || "");
    panels.showDetails(details);
  }

  /** The counter that the address names is shown and, while the page is seen, looked at. */
  function follow() {
    const id = location.hash.replace(/^#\/?/, "") || "clicks";
    watching?.stop();
    readError = null;
    if (id !== shownId) turnTo(id);
    watching = counter && !document.hidden ? watch(counter, refreshed) : null;
    if (!document.hidden) outbox.adopt();
    show();
  }

  function turnTo(id) {
    details?.stop();
    shownId = id;
    counter = isCounterId(id) ? makeCounter(id, api, outbox) : null;
    details = counter && makeDetails(id, api, show);
    refusal = counter ? "" : `“${id}” names no counter: a name is 1 to 64 characters of A-Z a-z 0-9 . _ ~ -`;
    view.put(view.page.swapped, "");
  }

  function refreshed(error) {
    readError = error;
    if (!error) details.follow(counter.state.version);
    show();
  }

  function recorded() {
    refusal = "";
    watching?.wake();
  }

  function refused(click, error) {
    refusal = `An increment of ${click.counterId} was refused: ${error.message}`;
  }

  async function swap(by) {
    const target = counter;
    const { swapped } = view.page;
    view.put(swapped, "");
    const answer = target.swap(by);
    const said = view.format(target.asked.value);
    const [text, className] = await answer.then(
      ({ value }) => [`Counted: it still said ${said}, and then ${view.format(value)}.`, "done"],
      (error) => [whyNot(error, said), ""],
    );
    if (counter === target) view.put(Object.assign(swapped, { className }), text);
    follow();
  }

  Object.assign(view.page.api, { href: `${apiUrl}/`, hidden: false });
  view.onCommand((by) => outbox.add(counter.id, by), swap, (id) => (location.hash = `#/${id}`));
  panels.onRange((range) => details.choose(range));
  panels.copyOnClick();
  await outbox.adopt();
  addEventListener("hashchange", follow);
  document.addEventListener("visibilitychange", follow);
  addEventListener("online", () => {
    outbox.hurry();
    follow();
  });
  addEventListener("beforeunload", (event) => outbox.isAtRisk() && event.preventDefault());
  setInterval(() => document.hidden || outbox.adopt(), 30_000);
  follow();
}

function whyNot(error, said) {
  if (error.current) {
    return `Not counted: somebody was quicker. It said ${said}, and says ${view.format(error.current.value)} now.`;
  }
  if (!(error instanceof UnavailableError)) return `Not counted: ${error.message}`;
  return "No answer, so whether it was counted is not known. Ask again: it counts once at most.";
}

try {
  await start(await readApiUrl());
  keepPage();
} catch (error) {
  view.put(view.page.problem, error.message);
}
