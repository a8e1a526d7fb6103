import { readNow, request } from "../client/api.js";
import { pause, pickBackoffMs } from "../client/backoff.js";

const INTERVAL_MS = 3_000;
const REPORTS_INTERVAL_MS = 30_000;
const FIRST_BACKOFF_MS = 5_000;
const MAX_BACKOFF_MS = 300_000;

const missingReports = new Set();

/** The time ranges of the chart. The last step is `now`. Of the others, each of `ticks` steps has a label. */
export const RANGES = {
  hour: { name: "Hour", past: "last hour", step: "minute", stepMs: 60_000, steps: 60, ticks: 15, now: "now" },
  day: { name: "Day", past: "last 24 hours", step: "hour", stepMs: 3_600_000, steps: 24, ticks: 6, now: "now" },
  days: { name: "2 weeks", past: "last 2 weeks", step: "day", stepMs: 86_400_000, steps: 14, ticks: 4, now: "today" },
};

/** Build the path of a badge in one of the API's styles. */
export function buildBadgePath(style) {
  return style === "flat" ? "/badge.svg" : `/badge.svg?style=${style}`;
}

/**
 * Make a counter's details: the page of latest `events`, the `badge` as SVG in the chosen `style`, the non-empty
 * `points` of the chosen `range`, and the `top` counters.
 *
 * Each detail has its own loader, so that it waits for no other. The value of a report that the API does not have is null.
 */
export function makeDetails(id, api, onChange) {
  const loaders = {
    points: makePoints("hour"),
    events: makeLoader(INTERVAL_MS, (signal) => api.get(id, "/events?limit=50", signal)),
    badge: makeBadge("flat"),
    top: makeLoader(REPORTS_INTERVAL_MS, (signal) => readReport("top_counters", "limit=5", signal)),
  };
  const details = { id, apiUrl: api.root, range: "hour", style: "flat", loaders, update, chooseRange, chooseStyle, stop };
  let latest;

  /** Load the details of this version. */
  function update(version) {
    latest = version;
    for (const loader of Object.values(loaders)) loader.update(version);
  }

  function chooseRange(range) {
    details.range = range;
    replace("points", makePoints(range));
  }

  function chooseStyle(style) {
    details.style = style;
    replace("badge", makeBadge(style));
  }

  function replace(name, loader) {
    loaders[name].stop();
    loaders[name] = loader;
    if (latest !== undefined) loader.update(latest);
    onChange();
  }

  function stop() {
    for (const loader of Object.values(loaders)) loader.stop();
  }

  function makeBadge(style) {
    return makeLoader(INTERVAL_MS, (signal) => api.get(id, buildBadgePath(style), signal, { as: "text" }));
  }

  function makePoints(range) {
    const { step, stepMs, steps } = RANGES[range];
    if (range === "days") {
      const toPoint = ({ day, total }) => ({ start: day, sum: total });
      const query = `counter_id=${id}&limit=${steps}`;
      const read = async (signal) => (await readReport("daily", query, signal))?.map(toPoint) ?? null;
      return makeLoader(REPORTS_INTERVAL_MS, read);
    }
    return makeLoader(INTERVAL_MS, async (signal) => {
      const from = new Date((Math.floor(readNow() / stepMs) - steps + 1) * stepMs).toISOString();
      return (await api.get(id, `/history?resolution=${step}&from=${from}`, signal)).points;
    });
  }

  /** Read the rows of a report, or null if the API does not have it. */
  async function readReport(name, query, signal) {
    try {
      if (missingReports.has(name)) return null;
      return (await request(`${api.root}/reports/${name}?${query}`, signal, { cache: "default" })).rows;
    } catch (error) {
      if (error.status !== 404) throw error;
      missingReports.add(name);
      return null;
    }
  }

  /**
   * Make a loader with a `value`, which is undefined until it is loaded, and the `error` of the last attempt.
   *
   * An update loads the value if the version has changed: at most once per interval, and less often after failures.
   */
  function makeLoader(intervalMs, read) {
    const controller = new AbortController();
    const { signal } = controller;
    const loader = { value: undefined, error: null, update, stop: () => controller.abort() };
    let target;
    let current;
    let failures = 0;
    let isRunning = false;

    async function update(version) {
      target = version;
      if (isRunning) return;
      isRunning = true;
      while (current !== target) {
        const next = target;
        const result = await read(signal).then((value) => ({ value, error: null }), (error) => ({ value: undefined, error }));
        if (signal.aborted) return;
        Object.assign(loader, result);
        onChange();
        if (result.error) {
          const { retryAfterMs = 0 } = result.error;
          await pause(pickBackoffMs(++failures, retryAfterMs, FIRST_BACKOFF_MS, MAX_BACKOFF_MS), signal);
          // The next update retries: a hidden page sends no requests.
          break;
        }
        failures = 0;
        current = next;
        await pause(intervalMs, signal);
      }
      isRunning = false;
    }

    return loader;
  }

  return details;
}
