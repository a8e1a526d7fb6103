import { readNow } from "../client/api.js";
import { make, setText } from "./elements.js";

const UNITS_S = { year: 31_557_600, month: 2_629_800, day: 86_400, hour: 3_600, minute: 60 };
const TICK_MS = 10_000;

const ages = new Intl.RelativeTimeFormat("en");
const times = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });

/** Make an element that shows how long ago this was, and has the exact time as its title. */
export function makeTime(dateTime) {
  return make("time", { dateTime, title: formatTime(dateTime) }, formatAge(dateTime));
}

/** Keep the ages current while the page is visible. */
export function startClock() {
  setInterval(showAges, TICK_MS);
  document.addEventListener("visibilitychange", showAges);
}

export function formatTime(dateTime) {
  return times.format(new Date(dateTime));
}

function showAges() {
  if (document.hidden) return;
  for (const element of document.querySelectorAll("time")) setText(element, formatAge(element.dateTime));
}

/** Format an age in whole units. A time that is ahead of the API's clock is a moment ago. */
export function formatAge(dateTime) {
  const age = (readNow() - new Date(dateTime)) / 1_000;
  for (const [unit, seconds] of Object.entries(UNITS_S)) {
    if (age >= seconds) return ages.format(-Math.floor(age / seconds), unit);
  }
  return "a moment ago";
}
