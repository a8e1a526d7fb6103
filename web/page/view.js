import { makeTime } from "./time.js";

const MAX_DOTS = 12;

const numbers = new Intl.NumberFormat("en");
const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)");
let shouldAnnounce = true;

/** The elements, by id. */
export const page = Object.fromEntries([...document.querySelectorAll("[id]")].map((element) => [element.id, element]));

/** Call back with the amount at each click or + key, and with the counter to show. */
export function bindCommands(increment, swap, showOther) {
  const { act, by, other, plus } = page;
  bindSubmit(act, () => increment(by.valueAsNumber));
  bindSubmit(page.go, () => {
    showOther(other.value);
    other.value = "";
  });
  page.swap.onclick = () => act.reportValidity() && swap(by.valueAsNumber);
  by.oninput = showAmount;
  showAmount();
  document.onkeydown = (event) => {
    const { key, target } = event;
    // Holding a key down is one increment.
    if (event.repeat) return target === page.increment && event.preventDefault();
    const isOurs = key === "+" && plus.checked && !(event.ctrlKey || event.metaKey || event.altKey);
    const isText = target.matches("input:not([type=checkbox], [type=radio])");
    if (isOurs && !isText && !page.increment.disabled) act.requestSubmit();
  };
}

export function showCounter(counter) {
  const state = counter?.state;
  const text = state ? format(state.value) : "–";
  const pending = counter?.getPending() ?? [];
  const isSame = page.name.textContent === counter?.id;
  setText(page.name, counter?.id ?? "Counter");
  setText(page.value, text);
  page.value.value = state?.value ?? "";
  page.value.style.setProperty("--glyphs", text.length);
  showDots(pending, isSame);
  setText(page.pending, `+${format(pending.reduce((sum, click) => sum + click.by, 0))} pending`);
  page.pending.hidden = !pending.length;
  const { version, updated_at: time } = state ?? {};
  setText(page.changes, state ? formatCount(version, "change") : "");
  showFacts(time);
  setText(page.swap, counter?.openSwap?.isUnknown ? "Check again" : `Add only if still ${text}`);
  page.swap.disabled = !state;
  page.increment.disabled = !counter;
  document.title = `${counter ? `${text} – ${counter.id} – ` : ""}Counter`;
  // Announce the value once the user's own clicks are counted, not other clients' changes.
  shouldAnnounce ||= !isSame || pending.length > 0;
  if (!state || pending.length || !shouldAnnounce) return;
  setText(page.spoken, `${counter.id}: ${text}`);
  shouldAnnounce = false;
}

export function showConnection(isReachable, waiting, hasUnsaved) {
  const clicks = formatCount(waiting, "click");
  const them = waiting === 1 ? "it" : "them";
  const saved = hasUnsaved
    ? `${clicks} not sent. Keep this page open: your browser can’t save ${them}.`
    : `${clicks} saved; we’ll send ${them} when it’s back.`;
  setText(page.connection, isReachable ? "" : `Can’t reach the API. ${waiting ? saved : "Trying again."}`);
}

export function format(value) {
  return (Math.abs(value) > Number.MAX_SAFE_INTEGER ? "≈" : "") + numbers.format(value).replace("-", "−");
}

/** Set text only if it differs: screen readers would repeat it. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function formatCount(n, noun) {
  return `${format(n)} ${noun}${n === 1 ? "" : "s"}`;
}

function showFacts(time) {
  if (page.facts.querySelector("time")?.dateTime === time) return;
  page.facts.replaceChildren(...(time ? ["Updated ", makeTime(time)] : []));
}

function showAmount() {
  const { by, increment } = page;
  setText(increment, by.validity.valid ? `Add ${format(by.valueAsNumber)}` : "Add");
}

/** Show a dot for each pending click: hollow when sent, filled when recorded, rising when counted. */
function showDots(pending, isSame) {
  const shown = pending.slice(0, MAX_DOTS);
  const dots = [...page.dots.children];
  for (const dot of dots.filter(({ click }) => click && !shown.includes(click))) {
    dot.click = null;
    if (isSame && !reducedMotion.matches && !document.hidden) rise(dot);
    else dot.remove();
  }
  for (const click of shown) {
    const dot = dots.find((element) => element.click === click) ?? page.dots.appendChild(document.createElement("i"));
    Object.assign(dot, { click, className: click.event ? "recorded" : "" });
  }
}

function rise(dot) {
  const animation = dot.animate({ translate: "0 -1.5rem", opacity: 0 }, { duration: 280, easing: "ease-out" });
  animation.onfinish = () => dot.remove();
}

function bindSubmit(form, callback) {
  form.onsubmit = (event) => {
    event.preventDefault();
    callback();
  };
}
