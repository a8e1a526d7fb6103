import { readNow } from "../client/api.js";
import { readItem, writeItem } from "../client/storage.js";
import { make, setText } from "./elements.js";
import { makeTime } from "./time.js";

const MAX_DOTS = 12;
const ROLL = { duration: 450, easing: "cubic-bezier(.2, .8, .2, 1)" };

const numbers = new Intl.NumberFormat("en");
const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)");
let shouldAnnounce = true;

/** The elements, by id. */
export const page = Object.fromEntries([...document.querySelectorAll("[id]")].map((element) => [element.id, element]));

/** Load the style of the details. */
export function loadStyle() {
  return new Promise((onload, onerror) => Object.assign(page.detailsStyle, { onload, onerror, disabled: false }));
}

/** Call back with the amount at each click or press of the + key. */
export function bindCommands(increment, swap) {
  const { act, by, options, plus } = page;
  act.onsubmit = (event) => {
    event.preventDefault();
    increment(by.valueAsNumber);
  };
  page.swap.onclick = () => act.reportValidity() && swap(by.valueAsNumber);
  // The browser can explain an invalid field only if it can show the field.
  by.oninvalid = () => (options.open = true);
  by.oninput = showAmount;
  showAmount();
  document.onkeydown = (event) => {
    const { key, target } = event;
    // Holding Enter down is one increment: false prevents further ones.
    if (event.repeat) return key !== "Enter";
    const isOurs = key === "+" && plus.checked && !(event.ctrlKey || event.metaKey || event.altKey);
    const isText = target.matches("input:not([type=checkbox], [type=radio])");
    if (isOurs && !isText && !page.increment.disabled) act.requestSubmit();
  };
}

/** Call back with the counter to show. */
export function bindPicker(open) {
  page.go.onsubmit = (event) => {
    event.preventDefault();
    open(page.other.value);
    page.other.value = "";
    page.increment.focus();
  };
}

/** Keep the options open on later visits, if the browser has storage. */
export function bindOptions() {
  const { options } = page;
  options.open = readItem("options")?.open;
  options.ontoggle = () => writeItem("options", { open: options.open });
}

/** Show the counter with its last known state, and whether this state `isCurrent`. Without a state, show the hint. */
export function showCounter(counter, state, isCurrent, hint) {
  const text = state ? format(state.value) : "–";
  const pending = counter?.getPending() ?? [];
  const isSame = page.name.textContent === counter?.id;
  setText(page.name, counter?.id ?? "Counter");
  showValue(state?.value, text, isSame);
  page.value.className = isCurrent ? "" : "old";
  showFacts(state, isCurrent, hint);
  showDots(pending, isSame);
  setText(page.pending, `+${format(pending.reduce((sum, click) => sum + click.by, 0))} pending`);
  page.pending.hidden = !pending.length;
  setText(page.changes, state ? `${formatCount(state.version, "change")} so far` : "");
  const isUnknown = counter?.openSwap?.isUnknown;
  setText(page.swap, isUnknown ? "Check again" : `Add only if still ${text}`);
  if (isUnknown) page.options.open = true;
  page.swap.disabled = !counter?.state;
  page.increment.disabled = !counter;
  document.title = `${counter ? `${text} – ${counter.id} – ` : ""}Counter`;
  // Announce the value once the user's own clicks are counted, not other clients' changes.
  shouldAnnounce ||= !isSame || pending.length > 0;
  if (!isCurrent || pending.length || !shouldAnnounce) return;
  setText(page.spoken, `${counter.id}: ${text}`);
  shouldAnnounce = false;
}

export function showConnection(isReachable, waiting, hasUnsaved) {
  const clicks = formatCount(waiting, "click");
  const them = waiting === 1 ? "it" : "them";
  const [problem, end] = navigator.onLine ? ["Can’t reach the server.", "it’s back"] : ["You’re offline.", "you’re back online"];
  const saved = hasUnsaved
    ? `${clicks} not sent. Keep this page open: your browser can’t save ${them}.`
    : `${clicks} saved; we’ll send ${them} when ${end}.`;
  setText(page.connection, isReachable ? "" : `${problem} ${waiting ? saved : "Trying again."}`);
}

export function format(value) {
  return (Math.abs(value) > Number.MAX_SAFE_INTEGER ? "≈" : "") + numbers.format(value).replace("-", "−");
}

function formatCount(n, noun) {
  return `${format(n)} ${noun}${n === 1 ? "" : "s"}`;
}

function showAmount() {
  const { by, increment } = page;
  setText(increment, by.validity.valid ? `Add ${format(by.valueAsNumber)}` : "Add");
}

function showValue(value, text, isSame) {
  const { textContent: before, value: old } = page.value;
  if (before === text) return;
  page.value.textContent = text;
  page.value.value = value ?? "";
  page.figure.style.setProperty("--glyphs", text.length);
  if (isSame && old && !reducedMotion.matches && !document.hidden) roll(before, text, value < old);
}

/** Roll the digits that change, in a copy of the value that screen readers do not read. */
function roll(before, after, isLess) {
  const { reel, figure } = page;
  const digits = [...after].map((glyph, index) => {
    const digit = make("i", {}, glyph);
    const old = before.at(index - after.length) ?? "";
    if (old !== glyph) digit.dataset.old = old;
    return digit;
  });
  reel.replaceChildren(...digits);
  reel.className = isLess ? "less" : "";
  for (const digit of digits.filter(({ dataset }) => "old" in dataset)) {
    figure.className = "rolling";
    const animation = digit.animate({ translate: [`0 ${isLess ? -100 : 100}%`, "0 0"] }, ROLL);
    animation.onfinish = () => reel.contains(digit) && (figure.className = "");
  }
}

/** Show when the state was changed or, if it is old, when it was read. `at` is a time of the browser's clock. */
function showFacts(state, isCurrent, hint) {
  const { updated_at: changedAt, at } = state ?? {};
  const readAt = at && new Date(at + readNow() - Date.now()).toISOString();
  const [lead, time] = isCurrent ? ["Updated ", changedAt] : ["As of ", readAt];
  const text = state ? "Nothing yet. Add the first one!" : hint;
  const key = time ? lead + time : text;
  if (page.facts.dataset.key === key) return;
  page.facts.dataset.key = key;
  page.facts.replaceChildren(...(time ? [lead, makeTime(time)] : [text]));
}

/** Show a dot for each pending click: hollow when sent, filled when recorded, rising when counted. */
function showDots(pending, isSame) {
  const shown = pending.slice(0, MAX_DOTS);
  const dots = [...page.dots.children];
  for (const dot of dots.filter(({ click }) => click && !shown.includes(click))) {
    const { counted } = dot.click;
    dot.click = null;
    if (counted && isSame && !reducedMotion.matches && !document.hidden) rise(dot);
    else dot.remove();
  }
  for (const click of shown) {
    const dot = dots.find((element) => element.click === click) ?? page.dots.appendChild(make("i"));
    Object.assign(dot, { click, className: click.event ? "recorded" : "" });
  }
}

function rise(dot) {
  const animation = dot.animate({ translate: "0 -2.5rem", opacity: 0 }, { duration: 280, easing: "ease-out" });
  animation.onfinish = () => dot.remove();
}
