/** Longer than API Gateway's own timeout. */
const TIMEOUT_MS = 30_000;

/** Statuses with which the API refuses a command. */
const REFUSALS = [400, 412, 413, 415, 422];

/** The outcome of the request is unknown. Retry it, a command with the same key. */
export class UnavailableError extends Error {
  constructor(retryAfterMs = 0) {
    super("Cannot reach the API.");
    this.retryAfterMs = retryAfterMs;
  }
}

/** The API refused the request. `current` is the counter's state if its version did not match. */
export class RefusedError extends Error {
  constructor(status, problem) {
    super(problem.detail ?? `The API answered ${status} and gave no reason.`);
    this.status = status;
    this.current = problem.current;
  }
}

/**
 * Make a client of the API. Its functions throw UnavailableError or RefusedError, or stop with their signal.
 *
 * Reads set no headers, so they need no preflight.
 */
export function makeApi(root) {
  let hasReports = true;

  const buildUrl = (counterId, path) => `${root}/counters/${counterId}${path}`;

  /** Get the resource at this path below the counter. The empty path is the counter's state. */
  const get = (counterId, path, signal, options) => request(buildUrl(counterId, path), signal, options);

  /**
   * Increment the counter and return the event. A retry with the same key counts once.
   *
   * With a version, increment only if the counter is at that version, and return its new state.
   */
  function increment(counterId, key, by, version) {
    const condition = version === undefined ? {} : { "If-Match": `"${version}"` };
    const headers = { "Content-Type": "application/json", "Idempotency-Key": key, ...condition };
    return get(counterId, "/increments", null, { method: "POST", headers, body: JSON.stringify({ by }) });
  }

  /** Get the rows of a report, or null if the API has no reports. */
  async function getReport(path, signal) {
    try {
      return hasReports ? (await request(`${root}/reports/${path}`, signal, { cache: "default" })).rows : null;
    } catch (error) {
      if (error.status !== 404) throw error;
      hasReports = false;
      return null;
    }
  }

  return { buildUrl, get, increment, getReport };
}

async function request(url, signal, { as = "json", ...options } = {}) {
  const signals = [AbortSignal.timeout(TIMEOUT_MS), ...(signal ? [signal] : [])];
  let response;
  try {
    response = await fetch(url, { cache: "no-cache", ...options, signal: AbortSignal.any(signals) });
    if (response.ok) return await response[as]();
  } catch {
    signal?.throwIfAborted();
    throw new UnavailableError();
  }
  const { status } = response;
  const problem = await response.json().catch(() => ({}));
  // A proxy's refusal must not cost a command: retry.
  const isRefused = options.method ? REFUSALS.includes(status) && problem.detail : status !== 429 && status < 500;
  throw isRefused ? new RefusedError(status, problem) : new UnavailableError(readRetryAfterMs(response));
}

/** Read seconds or a date (RFC 9110, section 10.2.3). */
function readRetryAfterMs(response) {
  const text = response.headers.get("Retry-After");
  const ms = 1000 * text || Date.parse(text) - Date.now();
  return Math.min(Math.max(ms || 0, 0), 3_600_000);
}
