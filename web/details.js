import { pause } from "./backoff.js";

const INTERVAL_MS = 3_000;
const REPORTS_INTERVAL_MS = 30_000;

/** The time ranges of the chart. The last step is the current one. */
export const RANGES = {
  hour: { name: "Last hour", step: "minute", stepMs: 60_000, steps: 60 },
  day: { name: "Last day", step: "hour", stepMs: 3_600_000, steps: 24 },
  days: { name: "Last two weeks", step: "day", stepMs: 86_400_000, steps: 14 },
};

/**
 * Make a counter's details: the latest `events`, the `badge` as SVG, the non-empty `points` of the `range`, and the
 * `top` counters if the API has reports.
 *
 * They are loaded when the version changes. A detail that cannot be loaded keeps its value.
 */
export function makeDetails(id, api, onChange) {
  const badgeUrl = api.buildUrl(id, "/badge.svg");
  const details = { id, badgeUrl, range: "hour", update, chooseRange, stop: () => stop.abort() };
  const stop = new AbortController();
  const { signal } = stop;
  let loaded;
  let latest;
  let loadedAt = 0;
  let reportsAt = 0;
  let isRunning = false;

  /** Load the details of this version. */
  async function update(version) {
    latest = version;
    if (isRunning) return;
    isRunning = true;
    while (loaded !== latest && !signal.aborted) {
      await pause(loadedAt + INTERVAL_MS - Date.now(), signal);
      const loading = latest;
      loadedAt = Date.now();
      const isReportTurn = loadedAt - reportsAt >= REPORTS_INTERVAL_MS;
      if (isReportTurn) reportsAt = loadedAt;
      const results = await Promise.allSettled([
        (isReportTurn || details.range !== "days") && loadPoints(),
        load("events", api.get(id, "/events?limit=8", signal), (page) => page.events),
        load("badge", api.get(id, "/badge.svg", signal, { as: "text" })),
        isReportTurn && load("top", api.getReport("top_counters?limit=5", signal)),
      ]);
      if (results.some(({ reason }) => reason)) break;
      loaded = loading;
    }
    isRunning = false;
  }

  function chooseRange(range) {
    Object.assign(details, { range, points: null });
    loadPoints().catch(() => {});
  }

  function loadPoints() {
    const { step, stepMs, steps } = RANGES[details.range];
    if (details.range === "days") {
      const toPoint = ({ day, total }) => ({ start: day, sum: total });
      const answer = api.getReport(`daily?counter_id=${id}&limit=${steps}`, signal);
      return load("points", answer, (rows) => rows?.map(toPoint));
    }
    const from = new Date((Math.floor(Date.now() / stepMs) - steps + 1) * stepMs).toISOString();
    return load("points", api.get(id, `/history?resolution=${step}&from=${from}`, signal), (history) => history.points);
  }

  async function load(name, answer, parse = (body) => body) {
    const { range } = details;
    const value = parse(await answer);
    if (signal.aborted || (name === "points" && range !== details.range)) return;
    details[name] = value;
    onChange();
  }

  return details;
}
