import { pause } from "./waiting.js";

const EVERY_MS = 3_000;
const REPORTS_EVERY_MS = 30_000;

/** The spans that can be chosen: of so many steps, the last of which is now. */
export const RANGES = {
  hour: { name: "Last hour", step: "minute", stepMs: 60_000, steps: 60 },
  day: { name: "Last day", step: "hour", stepMs: 3_600_000, steps: 24 },
  days: { name: "Last two weeks", step: "day", stepMs: 86_400_000, steps: 14 },
};

/**
 * What stands beside a counter's value: the latest `events`, the `badge` as SVG, those steps of the `range` in which
 * something was counted (`points`), and the `top` counters where there are reports.
 *
 * Asked for when the version has changed. What cannot be had stays as it was.
 */
export function makeDetails(id, api, onChange) {
  const badgeUrl = api.url(id, "/badge.svg");
  const shown = { id, badgeUrl, range: "hour", follow, choose, stop: () => stop.abort() };
  const stop = new AbortController();
  const { signal } = stop;
  let known;
  let wanted;
  let askedAt = 0;
  let reportsAt = 0;
  let isRunning = false;

  /** The counter is at this version now. */
  async function follow(version) {
    wanted = version;
    if (isRunning) return;
    isRunning = true;
    while (known !== wanted && !signal.aborted) {
      await pause(askedAt + EVERY_MS - Date.now(), signal);
      const asked = wanted;
      askedAt = Date.now();
      const isTurn = askedAt - reportsAt >= REPORTS_EVERY_MS;
      if (isTurn) reportsAt = askedAt;
      const all = await Promise.allSettled([
        (isTurn || shown.range !== "days") && loadPoints(),
        load("events", api.get(id, "/events?limit=8", signal), (page) => page.events),
        load("badge", api.get(id, "/badge.svg", signal, { as: "text" })),
        isTurn && load("top", api.report("top_counters?limit=5", signal)),
      ]);
      if (all.some(({ reason }) => reason)) break;
      known = asked;
    }
    isRunning = false;
  }

  /** The past is shown over this range. */
  function choose(range) {
    Object.assign(shown, { range, points: null });
    loadPoints().catch(() => {});
  }

  function loadPoints() {
    const { step, stepMs, steps } = RANGES[shown.range];
    if (shown.range === "days") {
      const point = ({ day, total }) => ({ start: day, sum: total });
      const answer = api.report(`daily?counter_id=${id}&limit=${steps}`, signal);
      return load("points", answer, (rows) => rows?.map(point));
    }
    const from = new Date((Math.floor(Date.now() / stepMs) - steps + 1) * stepMs).toISOString();
    return load("points", api.get(id, `/history?resolution=${step}&from=${from}`, signal), (found) => found.points);
  }

  async function load(name, answer, read = (found) => found) {
    const { range } = shown;
    const found = read(await answer);
    if (signal.aborted || (name === "points" && range !== shown.range)) return;
    shown[name] = found;
    onChange();
  }

  return shown;
}
