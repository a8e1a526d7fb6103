import { readNow, UnavailableError } from "../client/api.js";
import { groupEvents } from "./activity.js";
import { fillSteps, makeChart } from "./chart.js";
import { makeDetails, RANGES } from "./details.js";
import { make, setText } from "./elements.js";
import { bindShare, showShare } from "./share.js";
import { formatAge, formatTime } from "./time.js";
import { format, page } from "./view.js";

const MAX_ROWS = 10;
/** Ages and the chart change as time passes. */
const TICK_MS = 10_000;
/** An older detail shows its age if the counter has changed since. */
const MAX_AGE_MS = 10_000;

const clock = new Intl.DateTimeFormat("en-GB", { timeStyle: "short" });
const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", timeZone: "UTC" });
const compact = new Intl.NumberFormat("en", { notation: "compact" });
const showSteps = makeChart(page, formatShort, showReadout);
const lastShown = {};
let details = null;
let readout = {};

/**
 * Bind the panels. Return the function that shows the details of a counter, given its id, or null, and its version.
 *
 * `isUrgent` is true after the user's own clicks.
 */
export function bindPanels(api) {
  for (const [value, { name }] of Object.entries(RANGES)) {
    const choice = make("input", { type: "radio", name: "range", value, onchange: () => details.chooseRange(value) });
    page.ranges.append(make("label", {}, choice, name));
  }
  bindShare((style) => details.chooseStyle(style));
  setInterval(() => document.hidden || show(), TICK_MS);
  page.details.ariaBusy = null;

  return function showPanels(id, version, isUrgent) {
    if (details?.id !== id) {
      details?.stop();
      details = id && makeDetails(id, api, show);
    }
    if (version !== undefined) details.update(version, isUrgent);
    show();
  };
}

function show() {
  if (!details) return;
  const { points, events, badge, top } = details.loaders;
  for (const [name, loader] of Object.entries(details.loaders)) showAge(page[`${name}Age`], loader);
  for (const choice of page.ranges.querySelectorAll("input")) {
    choice.checked = choice.value === details.range;
    choice.parentNode.hidden = choice.value === "days" && !top.value && !top.error;
  }
  showChart(points, details);
  showEvents(events);
  showTop(top);
  showShare(details);
  page.badge.alt = `Badge of ${details.id}`;
  page.badge.hidden = !badge.value;
  if (badge.value && hasChanged("badge", badge.value)) {
    page.badge.src = `data:image/svg+xml,${encodeURIComponent(badge.value)}`;
  }
  setText(page.badgeStatus, explain(badge));
}

function showAge(element, { value, at, isOld }) {
  const ageMs = Date.now() - at;
  const isShown = value && isOld && ageMs > MAX_AGE_MS;
  setText(element, isShown ? `As of ${formatAge(readNow() - ageMs)}` : "");
}

function showChart(loader, { range, past }) {
  const now = readNow();
  const today = new Date(now).toDateString();
  const { span, step, stepMs } = RANGES[range];
  const steps = loader.value && fillSteps(now, loader.value, RANGES[range]);
  for (const item of steps ?? []) item.then = formatPast(past.get(item.end));
  const status = explain(loader);
  if (!hasChanged("chart", [range, steps, today, status])) return;
  readout = { total: status && "–", period: `in the ${span}` };
  if (!steps) return showSteps({ text: status });
  const formatTick = (start) => (range === "days" ? day : clock).format(start);
  const isEarlier = (start) => range !== "days" && new Date(start).toDateString() !== today;
  const formatStart = (start) => (isEarlier(start) ? "yesterday " : "") + formatTick(start);
  const formatSpan = ({ start }) => formatStart(start) + (range === "day" ? `–${clock.format(start + stepMs)}` : "");
  const describe = (item) => `${formatSigned(item.sum)}, ${formatSpan(item)}`;
  const [lowest, highest] = [-1, 1].map((sign) => steps.reduce((a, b) => (sign * b.sum > sign * a.sum ? b : a)));
  const total = formatSigned(steps.reduce((sum, item) => sum + item.sum, 0));
  Object.assign(readout, { total, formatSpan });
  let summary = `${total} since ${formatStart(steps[0].start)}.`;
  if (highest.sum > 0) summary += ` Most in one ${step}: ${describe(highest)}.`;
  if (lowest.sum < 0) summary += ` Least: ${describe(lowest)}.`;
  const text = steps.some(({ sum }) => sum) ? "" : `No clicks in the ${span}.`;
  const label = `Changes in the ${span}, by ${step}`;
  const ticks = labelSteps(steps, RANGES[range], formatTick);
  showSteps({ steps, text, label, summary, ticks, describe: (item) => describe(item) + (item.then && `, ${item.then}`) });
}

/** Show the sum of the step that the user reads and, once known, the value at its end; otherwise, the total. */
function showReadout(step) {
  setText(page.total, step ? formatSigned(step.sum) : readout.total);
  setText(page.period, step ? readout.formatSpan(step) : readout.period);
  setText(page.then, step?.then ?? "");
  details?.past.seek(step?.end);
}

function formatPast({ value, at, error } = {}) {
  if (error) return error.status === 400 ? "Too long ago to show the value" : "Value unknown";
  // An older API ignores the time.
  return at ? `${format(value)} by then` : "";
}

/** Label some steps at round local times, and the last one. */
function labelSteps(steps, { stepMs, ticks, now }, formatStart) {
  const isRound = (start) => Math.floor((start - new Date(start).getTimezoneOffset() * 60_000) / stepMs) % ticks === 0;
  const last = steps.length - 1;
  return [...steps.entries()]
    // The first and the last label need space.
    .filter(([index, { start }]) => isRound(start) && index > ticks / 5 && last - index >= ticks)
    .map(([index, { start }]) => [index, formatStart(start)])
    .concat([[last, now]]);
}

function showEvents(loader) {
  const { events = [], next_cursor: more } = loader.value ?? {};
  const groups = groupEvents(events, Boolean(more)).slice(0, MAX_ROWS);
  showList(page.events, loader, groups, "No clicks yet. Be the first.", (group) => {
    const { by, reason, age, count, isOpen, first, latest } = group;
    const title = [...new Set([first, latest].map(formatTime))].join(" to ");
    return [
      make("b", { className: by < 0 ? "negative" : "" }, formatSigned(by)),
      count > 1 ? ` × ${count}${isOpen ? " or more" : ""}` : "",
      make("time", { dateTime: latest, title }, age),
      make("small", {}, reason ? `Adjusted: ${reason}` : ""),
    ];
  });
}

function showTop(loader) {
  page.top.hidden = !loader.value && !loader.error;
  const rows = loader.value ?? [];
  showList(page.counters, loader, rows, "No counters yet.", ({ counter_id: name, value }) => {
    const part = make("i");
    part.style.width = `${(100 * Math.max(0, value)) / (rows[0].value || 1)}%`;
    return [part, make("a", { href: `#/${name}` }, name), make("b", {}, format(value))];
  });
}

/**
 * Show the rows, or `emptyText` if the list is empty and the counter has not changed since. While rows are loading, the
 * list has no items, and its style shows a skeleton.
 */
function showList(element, loader, rows, emptyText, toParts) {
  const text = explain(loader) || (loader.value && !rows.length && !loader.isOld ? emptyText : "");
  if (!hasChanged(element.id, [rows, text])) return;
  const focused = element.contains(document.activeElement) && document.activeElement.hash;
  element.replaceChildren(...rows.map((row) => make("li", {}, ...toParts(row))));
  [...element.querySelectorAll("a")].find(({ hash }) => hash === focused)?.focus({ preventScroll: true });
  if (text) element.append(make("li", { className: "empty" }, text));
}

/** Check whether this content is new in this place. */
function hasChanged(place, content) {
  return lastShown[place] !== (lastShown[place] = JSON.stringify(content));
}

/** Explain why a detail has nothing to show, or return an empty text. */
function explain({ value, error }) {
  if (error instanceof UnavailableError) return "Can’t load this. Trying again.";
  if (error) return `Can’t load this: ${error.message}`;
  return value === null ? "The API doesn’t have this report." : "";
}

function formatSigned(value) {
  return format(value).replace(/^≈?(?=[1-9])/, "$&+");
}

/** Format a number, shorter if it has more than five digits. */
function formatShort(value) {
  return Math.abs(value) < 100_000 ? format(value) : compact.format(value).replace("-", "−");
}
