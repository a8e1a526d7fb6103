import { readNow, UnavailableError } from "../client/api.js";
import { drawBars, fillSteps } from "./chart.js";
import { RANGES } from "./details.js";
import { formatTime } from "./time.js";
import { format, page, setText } from "./view.js";

const clock = new Intl.DateTimeFormat("en-GB", { timeStyle: "short" });
const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", timeZone: "UTC" });
const lastShown = {};

/** Call back with the time range that the user chooses. */
export function bindRanges(callback) {
  for (const [value, { name }] of Object.entries(RANGES)) {
    const choice = make("input", { type: "radio", name: "range", value, onchange: () => callback(value) });
    page.ranges.append(make("label", {}, choice, ` ${name}`));
  }
}

/** Let each button copy the field next to it. */
export function bindCopyButtons() {
  for (const button of page.details.querySelectorAll("button")) {
    const label = button.textContent;
    button.onclick = async () => {
      const field = button.previousElementSibling;
      field.select();
      let result = "Copied";
      try {
        await navigator.clipboard.writeText(field.value);
      } catch {
        // Without HTTPS or permission, only the deprecated command works.
        if (!document.execCommand("copy")) result = "Selected";
      }
      setText(button, result);
      setText(page.spoken, result);
      setTimeout(setText, 2_000, button, label);
    };
  }
}

export function showDetails(details) {
  page.details.hidden = !details;
  if (!details) return;
  const { id, badgeUrl, range } = details;
  const { points, events, badge, top } = details.loaders;
  for (const choice of page.ranges.querySelectorAll("input")) {
    choice.checked = choice.value === range;
    choice.parentNode.hidden = choice.value === "days" && !top.value && !top.error;
  }
  showChart(points, range);
  showList(page.events, events, ({ by, recorded_at: dateTime, reason }) => [
    make("b", {}, formatSigned(by)),
    make("time", { dateTime }, formatTime(dateTime)),
    make("small", {}, reason ?? ""),
  ]);
  page.top.hidden = !top.value && !top.error;
  showList(page.counters, top, ({ counter_id: name, value }) => [
    make("a", { href: `#/${name}` }, name),
    make("b", {}, format(value)),
  ]);
  page.link.value = new URL(`#/${id}`, location);
  page.markdown.value = `[![${id}](${badgeUrl})](${page.link.value})`;
  page.badge.alt = `Badge of ${id}`;
  page.badge.hidden = !badge.value;
  if (badge.value && hasChanged("badge", badge.value)) {
    page.badge.src = `data:image/svg+xml,${encodeURIComponent(badge.value)}`;
  }
  setText(page.badgeStatus, explain(badge));
}

function showChart(loader, range) {
  const { value: points } = loader;
  const now = readNow();
  const today = new Date(now).toDateString();
  const { name, step } = RANGES[range];
  const steps = points && fillSteps(now, points, RANGES[range]);
  if (!hasChanged("chart", [range, steps, today, explain(loader)])) return;
  if (!points) {
    page.chart.replaceChildren(make("p", {}, explain(loader)));
    setText(page.since, "");
    return;
  }
  const formatStart = (start) => {
    if (range === "days") return day.format(start);
    return (new Date(start).toDateString() === today ? "" : "yesterday ") + clock.format(start);
  };
  const formatStep = ({ start, sum }) => `${formatSigned(sum)}, ${formatStart(start)}`;
  const total = steps.reduce((sum, { sum: more }) => sum + more, 0);
  const highest = steps.reduce((a, b) => (b.sum > a.sum ? b : a));
  const since = `${formatSigned(total)} since ${formatStart(steps[0].start)}`;
  const text = `${since}. Most in one ${step}: ${formatStep(highest)}.`;
  page.chart.replaceChildren(drawBars(steps, `${name}, by ${step}`, text, formatStep));
  setText(page.since, since);
}

function showList(element, loader, toParts) {
  const { value: rows } = loader;
  const status = explain(loader);
  if (!hasChanged(element.id, [rows, status])) return;
  element.replaceChildren(...(rows ?? []).map((row) => make("li", {}, ...toParts(row))));
  if (!rows?.length) element.append(make("li", {}, status || "None yet."));
}

/** Explain why a detail has nothing to show, or return an empty text. */
function explain({ value, error }) {
  if (error instanceof UnavailableError) return "Can’t load this. Trying again.";
  if (error) return `Can’t load this: ${error.message}`;
  if (value === null) return "The API doesn’t have this report.";
  return value === undefined ? "Loading…" : "";
}

/** Check whether this content is new in this place. */
function hasChanged(place, content) {
  return lastShown[place] !== (lastShown[place] = JSON.stringify(content));
}

function make(name, properties, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
}

function formatSigned(value) {
  return (value > 0 ? "+" : "") + format(value);
}
