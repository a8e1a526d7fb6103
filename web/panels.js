import { drawBars, fillSteps } from "./chart.js";
import { RANGES } from "./details.js";
import { format, formatTime, page, setText } from "./view.js";

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
    button.onclick = async () => {
      const field = button.previousSibling;
      field.select();
      await navigator.clipboard.writeText(field.value);
      setText(button, "Copied");
      setText(page.spoken, "Copied");
      setTimeout(setText, 2_000, button, "Copy");
    };
  }
}

export function showDetails(details) {
  page.details.hidden = !details?.events;
  if (!details?.events) return;
  const { id, badgeUrl, points, range, events, badge, top } = details;
  for (const choice of page.ranges.querySelectorAll("input")) {
    choice.checked = choice.value === range;
    choice.parentNode.hidden = choice.value === "days" && !top;
  }
  if (points) showChart(fillSteps(Date.now(), points, RANGES[range]), range);
  showList(page.events, events, ({ by, recorded_at: dateTime, reason }) => [
    make("b", {}, formatSigned(by)),
    make("small", {}, reason ?? ""),
    make("time", { dateTime }, formatTime(dateTime)),
  ]);
  page.top.hidden = !top;
  showList(page.counters, top ?? [], ({ counter_id: name, value }) => [
    make("a", { href: `#/${name}` }, name),
    make("b", {}, format(value)),
  ]);
  page.link.value = new URL(`#/${id}`, location);
  page.markdown.value = `[![${id}](${badgeUrl})](${page.link.value})`;
  page.badge.alt = `Badge of ${id}`;
  page.badge.hidden = !badge;
  if (badge && hasChanged("badge", badge)) page.badge.src = `data:image/svg+xml,${encodeURIComponent(badge)}`;
}

function showChart(steps, range) {
  if (!hasChanged("chart", [range, steps])) return;
  const { name, step } = RANGES[range];
  const formatStep = ({ start, sum }) => `${formatSigned(sum)}, ${(range === "days" ? day : clock).format(start)}`;
  const total = steps.reduce((sum, { sum: more }) => sum + more, 0);
  const highest = steps.reduce((a, b) => (b.sum > a.sum ? b : a));
  const since = formatStep({ start: steps[0].start, sum: total }).replace(", ", " since ");
  const text = `${since}. Most in one ${step}: ${formatStep(highest)}.`;
  page.chart.replaceChildren(drawBars(steps, `${name}, by ${step}`, text, formatStep));
  setText(page.since, since);
}

function showList(element, rows, toParts) {
  if (!hasChanged(element.id, rows)) return;
  element.replaceChildren(...rows.map((row) => make("li", {}, ...toParts(row))));
  if (!rows.length) element.append(make("li", {}, "None yet."));
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
