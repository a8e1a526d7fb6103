import { bars, stepsUpTo } from "./chart.js";
import { RANGES } from "./details.js";
import { format, formatTime, page, put } from "./view.js";

const clock = new Intl.DateTimeFormat("en-GB", { timeStyle: "short" });
const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", timeZone: "UTC" });
const drawn = {};

/** Calls back with the span that is chosen. */
export function onRange(callback) {
  for (const [value, { name }] of Object.entries(RANGES)) {
    const choice = make("input", { type: "radio", name: "range", value, onchange: () => callback(value) });
    page.ranges.append(make("label", {}, choice, ` ${name}`));
  }
}

/** A click on its button copies a field. */
export function copyOnClick() {
  for (const button of page.details.querySelectorAll("button")) {
    button.onclick = async () => {
      const field = button.previousSibling;
      field.select();
      await navigator.clipboard.writeText(field.value);
      put(button, "Copied");
      put(page.spoken, "Copied");
      setTimeout(put, 2_000, button, "Copy");
    };
  }
}

/** This is shown beside the counter's value; null where there is nothing. */
export function showDetails(details) {
  page.details.hidden = !details?.events;
  if (!details?.events) return;
  const { id, badgeUrl, points, range, events, badge, top } = details;
  for (const choice of page.ranges.querySelectorAll("input")) {
    choice.checked = choice.value === range;
    choice.parentNode.hidden = choice.value === "days" && !top;
  }
  if (points) showChart(stepsUpTo(Date.now(), points, RANGES[range]), range);
  list(page.events, events, ({ by, recorded_at: dateTime, reason }) => [
    make("b", {}, signed(by)),
    make("small", {}, reason ?? ""),
    make("time", { dateTime }, formatTime(dateTime)),
  ]);
  page.top.hidden = !top;
  list(page.counters, top ?? [], ({ counter_id: name, value }) => [
    make("a", { href: `#/${name}` }, name),
    make("b", {}, format(value)),
  ]);
  page.link.value = new URL(`#/${id}`, location);
  page.markdown.value = `[![${id}](${badgeUrl})](${page.link.value})`;
  page.badge.alt = `Badge of ${id}`;
  page.badge.hidden = !badge;
  if (badge && !isDrawn("badge", badge)) page.badge.src = `data:image/svg+xml,${encodeURIComponent(badge)}`;
}

function showChart(steps, range) {
  if (isDrawn("chart", [range, steps])) return;
  const { name, step } = RANGES[range];
  const say = ({ start, sum }) => `${signed(sum)}, ${(range === "days" ? day : clock).format(start)}`;
  const sum = steps.reduce((total, one) => total + one.sum, 0);
  const most = steps.reduce((one, other) => (other.sum > one.sum ? other : one));
  const since = say({ start: steps[0].start, sum }).replace(", ", " since ");
  page.chart.replaceChildren(bars(steps, `${name}, by ${step}`, `${since}. Most in one ${step}: ${say(most)}.`, say));
  put(page.since, since);
}

function list(element, rows, partsOf) {
  if (isDrawn(element.id, rows)) return;
  element.replaceChildren(...rows.map((row) => make("li", {}, ...partsOf(row))));
  if (!rows.length) element.append(make("li", {}, "None yet."));
}

/** Whether this was the last thing drawn there, which it is from now on. */
function isDrawn(where, what) {
  return drawn[where] === (drawn[where] = JSON.stringify(what));
}

function make(name, properties, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function signed(value) {
  return (value > 0 ? "+" : "") + format(value);
}
