import { readNow, UnavailableError } from "../client/api.js";
import { groupEvents } from "./activity.js";
import { fillSteps, makeChart } from "./chart.js";
import { makeDetails, RANGES } from "./details.js";
import { hasChanged, make } from "./elements.js";
import { bindShare, showShare } from "./share.js";
import { formatTime } from "./time.js";
import { format, page, setText } from "./view.js";

const MAX_ROWS = 10;
/** Ages and the chart change with time. */
const TICK_MS = 10_000;

const clock = new Intl.DateTimeFormat("en-GB", { timeStyle: "short" });
const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", timeZone: "UTC" });
const compact = new Intl.NumberFormat("en", { notation: "compact" });
const showSteps = makeChart(page, formatShort, showReadout);
let details = null;
let readout = {};

/** Bind the panels. Return the function that shows the details of the counter with this id, or null, at its version. */
export function bindPanels(api) {
  for (const [value, { name }] of Object.entries(RANGES)) {
    const choice = make("input", { type: "radio", name: "range", value, onchange: () => details.chooseRange(value) });
    page.ranges.append(make("label", {}, choice, name));
  }
  bindShare((style) => details.chooseStyle(style));
  setInterval(() => document.hidden || show(), TICK_MS);
  page.details.ariaBusy = null;

  return function showPanels(id, version) {
    if (details?.id !== id) {
      details?.stop();
      details = id && makeDetails(id, api, show);
    }
    if (version !== undefined) details.update(version);
    show();
  };
}

function show() {
  if (!details) return;
  const { points, events, badge, top } = details.loaders;
  for (const choice of page.ranges.querySelectorAll("input")) {
    choice.checked = choice.value === details.range;
    choice.parentNode.hidden = choice.value === "days" && !top.value && !top.error;
  }
  showChart(points, details.range);
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

function showChart(loader, range) {
  const now = readNow();
  const today = new Date(now).toDateString();
  const { past, step, stepMs } = RANGES[range];
  const steps = loader.value && fillSteps(now, loader.value, RANGES[range]);
  const status = explain(loader);
  if (!hasChanged("chart", [range, steps, today, status])) return;
  readout = { total: status && "–", period: `in the ${past}` };
  if (!steps) return showSteps({ text: status });
  const formatTick = (start) => (range === "days" ? day : clock).format(start);
  const isEarlier = (start) => range !== "days" && new Date(start).toDateString() !== today;
  const formatStart = (start) => (isEarlier(start) ? "yesterday " : "") + formatTick(start);
  const formatStep = ({ start }) => formatStart(start) + (range === "day" ? `–${clock.format(start + stepMs)}` : "");
  const describe = (item) => `${formatSigned(item.sum)}, ${formatStep(item)}`;
  const [lowest, highest] = [-1, 1].map((sign) => steps.reduce((a, b) => (sign * b.sum > sign * a.sum ? b : a)));
  const total = formatSigned(steps.reduce((sum, item) => sum + item.sum, 0));
  Object.assign(readout, { total, formatStep });
  let summary = `${total} since ${formatStart(steps[0].start)}.`;
  if (highest.sum > 0) summary += ` Most in one ${step}: ${describe(highest)}.`;
  if (lowest.sum < 0) summary += ` Least: ${describe(lowest)}.`;
  const text = steps.some(({ sum }) => sum) ? "" : `No clicks in the ${past}.`;
  showSteps({ steps, text, label: `Changes in the ${past}, by ${step}`, summary, describe, ticks: labelSteps(steps, RANGES[range], formatTick) });
}

/** Show the sum of this step, which the user reads, or else the total. */
function showReadout(step) {
  setText(page.total, step ? formatSigned(step.sum) : readout.total);
  setText(page.period, step ? readout.formatStep(step) : readout.period);
}

/** Label some steps at round local times, and the last one. */
function labelSteps(steps, { stepMs, ticks, now }, formatStart) {
  const isRound = (start) => Math.floor((start - new Date(start).getTimezoneOffset() * 60_000) / stepMs) % ticks === 0;
  const last = steps.length - 1;
  return [...steps.entries()]
    // Leave space for the last label.
    .filter(([index, { start }]) => isRound(start) && last - index >= steps.length / 5)
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

/** Show the rows. While they are loading, the list is empty: a skeleton. */
function showList(element, loader, rows, emptyText, toParts) {
  const text = explain(loader) || (loader.value && !rows.length ? emptyText : "");
  if (!hasChanged(element.id, [rows, text])) return;
  element.replaceChildren(...rows.map((row) => make("li", {}, ...toParts(row))));
  if (text) element.append(make("li", { className: "empty" }, text));
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
