import { UnavailableError } from "../client/api.js";

/** The page requests the value at a past time once the user has stayed there for this long. */
const REST_MS = 400;

/**
 * Make a reader of the counter's values at past times. Call back after each response.
 *
 * The reader sends one request at a time. An answer is valid for one version, because late events change the past.
 */
export function makePast(id, api, getVersion, onChange) {
  const controller = new AbortController();
  const { signal } = controller;
  const answers = new Map();
  let sought;
  let timer;
  let isReading = false;

  function wait() {
    clearTimeout(timer);
    timer = setTimeout(read, REST_MS);
  }

  async function read() {
    const [time, version] = [sought, getVersion()];
    const last = answers.get(time);
    const isKnown = last?.version === version && !(last.error instanceof UnavailableError);
    if (isReading || isKnown || time === undefined || signal.aborted) return;
    isReading = true;
    const path = `?at=${new Date(time).toISOString()}`;
    const answer = await api.get(id, path, signal).catch((error) => ({ error }));
    isReading = false;
    answers.set(time, { ...answer, version });
    if (sought !== time) wait();
    if (!signal.aborted) onChange();
  }

  return {
    /** Return the last answer for this time, with the counter's version at the request, or undefined. */
    get: (time) => answers.get(time),

    /** Request the value at this time, in milliseconds, if the user stays there. Without a time, request none. */
    seek(time) {
      const isKnown = time === undefined || answers.get(time)?.version === getVersion();
      if (time === sought && isKnown) return;
      sought = time;
      wait();
    },

    stop: () => controller.abort(),
  };
}
