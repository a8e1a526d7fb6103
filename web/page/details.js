import { readNow, RefusedError, request } from "../client/api.js";
import { pickBackoffMs } from "../client/backoff.js";
import { makePast } from "./past.js";

const INTERVAL_MS = 3_000;
const REPORTS_INTERVAL_MS = 30_000;
const MAX_INTERVAL_MS = 120_000;
const GROWTH = 2;
const FIRST_BACKOFF_MS = 1_000;
const MAX_BACKOFF_MS = 60_000;

const missingReports = new Set();

/** The chart's time ranges. The last step has the label `now`. About one in `ticks` of the other steps has a label. */
export const RANGES = {
  hour: { name: "Hour", span: "last hour", step: "minute", stepMs: 60_000, steps: 60, ticks: 15, now: "now" },
  day: { name: "Day", span: "last 24 hours", step: "hour", stepMs: 3_600_000, steps: 24, ticks: 6, now: "now" },
  days: { name: "2 weeks", span: "last 2 weeks", step: "day", stepMs: 86_400_000, steps: 14, ticks: 5, now: "today" },
};

/** Build the path of a badge in one of the API's styles. */
export function buildBadgePath(style) {
  return style === "flat" ? "/badge.svg" : `/badge.svg?style=${style}`;
}

/**
 * Make a counter's details: the page of latest `events`, the `badge` as SVG in the chosen `style`, the non-empty
 * `points` of the chosen `range`, and the `top` counters.
 *
 * Each detail has its own loader, so that details do not wait for each other. The value of a missing report is null.
 */
export function makeDetails(id, api, onChange) {
  const loaders = {
    points: makePoints("hour"),
    events: makeLoader(INTERVAL_MS, (signal) => request(api.buildUrl(id, "/events?limit=50"), signal)),
    badge: makeBadge("flat"),
    top: makeLoader(REPORTS_INTERVAL_MS, (signal) => readReport("top_counters", "limit=5", signal)),
  };
  const past = makePast(id, api, () => latest, onChange);
  const details = { id, apiUrl: api.root, range: "hour", style: "flat", loaders, past, update, chooseRange, chooseStyle, stop };
  let latest;

  /** Load the details of this version, soon if it `isUrgent`. */
  function update(version, isUrgent) {
    latest = version;
    for (const loader of Object.values(loaders)) loader.update(version, isUrgent);
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
    for (const part of [past, ...Object.values(loaders)]) part.stop();
  }

  function makeBadge(style) {
    const url = api.buildUrl(id, buildBadgePath(style));
    return makeLoader(INTERVAL_MS, (signal) => request(url, signal, { as: "text", cache: "no-cache" }));
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
      return (await request(api.buildUrl(id, `/history?resolution=${step}&from=${from}`), signal)).points;
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
   * Make a loader with a `value`, which is undefined until it is loaded, the `error` of the last attempt, and `at`, the
   * time of that attempt. The value `isOld` if the counter has changed since.
   *
   * An update loads the value if the version has changed. The pauses between loads grow while the version keeps
   * changing, and with failures, but are short after the user's own clicks. A failure is retried without an update,
   * unless the API refused the request.
   */
  function makeLoader(firstMs, read) {
    const controller = new AbortController();
    const { signal } = controller;
    const loader = { value: undefined, error: null, at: 0, isOld: false, update, stop };
    let target;
    let current;
    let timer;
    let pauseMs = firstMs;
    let failures = 0;
    let isReading = false;

    function update(version, isUrgent) {
      // The browser's clock may have been set back.
      const idleMs = loader.at > Date.now() ? Infinity : Date.now() - loader.at;
      target = version;
      loader.isOld = current !== target;
      if (!failures && (isUrgent || idleMs > MAX_INTERVAL_MS)) pauseMs = firstMs;
      clearTimeout(timer);
      if (isReading || !loader.isOld) return;
      if (idleMs < pauseMs) timer = setTimeout(load, pauseMs - idleMs);
      else load();
    }

    async function load() {
      // The next update retries.
      if (document.hidden) return;
      const next = target;
      isReading = true;
      const result = await read(signal).then((value) => ({ value, error: null }), (error) => ({ value: undefined, error }));
      if (signal.aborted) return;
      isReading = false;
      Object.assign(loader, result, { at: Date.now() });
      if (result.error) {
        const { retryAfterMs = 0 } = result.error;
        pauseMs = pickBackoffMs(++failures, retryAfterMs, FIRST_BACKOFF_MS, MAX_BACKOFF_MS);
      } else {
        pauseMs = failures ? firstMs : Math.min(pauseMs * GROWTH, MAX_INTERVAL_MS);
        failures = 0;
        current = next;
      }
      if (!(result.error instanceof RefusedError)) update(target);
      onChange();
    }

    function stop() {
      controller.abort();
      clearTimeout(timer);
    }

    return loader;
  }

  return details;
}
