const MOST_DOTS = 12;

const number = new Intl.NumberFormat("en");
const moment = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });
const still = matchMedia("(prefers-reduced-motion: reduce)");
let isToBeSaid = true;

/** The elements, by id. */
export const page = Object.fromEntries([...document.querySelectorAll("[id]")].map((found) => [found.id, found]));

/** Calls back with the amount at each click and + key, and with the counter to go to. */
export function onCommand(increment, swap, go) {
  const { act, by, other, plus } = page;
  onSubmit(act, () => increment(by.valueAsNumber));
  onSubmit(page.go, () => {
    go(other.value);
    other.value = "";
  });
  page.swap.onclick = () => act.reportValidity() && swap(by.valueAsNumber);
  document.onkeydown = (event) => {
    const { key, target } = event;
    // Held down, a key is one wish.
    if (event.repeat) return target === page.increment && event.preventDefault();
    const isOurs = key === "+" && plus.checked && !(event.ctrlKey || event.metaKey || event.altKey);
    const isText = target.matches("input:not([type=checkbox], [type=radio])");
    if (isOurs && !isText && !page.increment.disabled) act.requestSubmit();
  };
}

/** The page shows this counter; null where there is none to show. */
export function showCounter(counter) {
  const state = counter?.state;
  const text = state ? format(state.value) : "–";
  const pending = counter?.pending() ?? [];
  const isSame = page.name.textContent === counter?.id;
  put(page.name, counter?.id ?? "Counter");
  put(page.value, text);
  page.value.value = state?.value ?? "";
  page.value.style.setProperty("--glyphs", text.length);
  showDots(pending, isSame);
  put(page.pending, `+${format(pending.reduce((sum, click) => sum + click.by, 0))} pending`);
  page.pending.hidden = !pending.length;
  const since = state?.updated_at && `version ${format(state.version)}, updated ${formatTime(state.updated_at)}`;
  put(page.facts, since ?? (state ? "never incremented" : ""));
  put(page.swap, counter?.asked?.isLost ? "Ask again about that one" : `Only if it still says ${text}`);
  page.swap.disabled = !state;
  page.increment.disabled = !counter;
  document.title = `${counter ? `${text} – ${counter.id} – ` : ""}Counter`;
  // What was clicked here is read out once it has settled; what others count would be chatter.
  isToBeSaid ||= !isSame || pending.length > 0;
  if (!state || pending.length || !isToBeSaid) return;
  put(page.spoken, `${counter.id}: ${text}`);
  isToBeSaid = false;
}

/** The page says whether the API is out of reach, and how many increments wait. */
export function showConnection(isReachable, waiting, isAtRisk) {
  const wait = waiting === 1 ? "1 increment waits" : `${format(waiting)} increments wait`;
  const keep = isAtRisk ? " Keep this page open until then: this browser stores nothing." : "";
  const what = waiting ? `${wait} and will be sent.${keep}` : "Trying again.";
  put(page.connection, isReachable ? "" : `Cannot reach the API. ${what}`);
}

/** A number as people read it. */
export function format(value) {
  return (Math.abs(value) > Number.MAX_SAFE_INTEGER ? "≈" : "") + number.format(value).replace("-", "−");
}

/** A time as people read it. */
export function formatTime(time) {
  return moment.format(new Date(time));
}

/** Text that stays the same is not set again: screen readers would read it again. */
export function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** A hollow dot is on its way, a full one recorded; what is counted rises into the number. */
function showDots(pending, isSame) {
  const shown = pending.slice(0, MOST_DOTS);
  const dots = [...page.dots.children];
  for (const dot of dots.filter(({ click }) => click && !shown.includes(click))) {
    dot.click = null;
    if (isSame && !still.matches && !document.hidden) rise(dot);
    else dot.remove();
  }
  for (const click of shown) {
    const dot = dots.find((one) => one.click === click) ?? page.dots.appendChild(document.createElement("i"));
    Object.assign(dot, { click, className: click.event ? "recorded" : "" });
  }
}

function rise(dot) {
  dot.animate({ translate: "0 -1.5rem", opacity: 0 }, { duration: 280, easing: "ease-out" }).onfinish = () => dot.remove();
}

function onSubmit(form, callback) {
  form.onsubmit = (event) => {
    event.preventDefault();
    callback();
  };
}
