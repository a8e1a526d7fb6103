/** Longer than API Gateway takes to give up. */
const TIMEOUT_MS = 30_000;

/** With which the API refuses a command, and says why. */
const REFUSALS = [400, 412, 413, 415, 422];

/** Nothing is known about what became of it: send it again, a command with the same key. */
export class UnavailableError extends Error {
  constructor(retryAfterMs = 0) {
    super("The API is out of reach.");
    this.retryAfterMs = retryAfterMs;
  }
}

/** The API did not do it, for a reason; `current` is the counter's state if that was it. */
export class RefusedError extends Error {
  constructor(status, problem) {
    super(problem.detail ?? `The API answered ${status} and does not say why.`);
    this.status = status;
    this.current = problem.current;
  }
}

/**
 * The requests of this page. All throw UnavailableError or RefusedError, or stop with their signal.
 *
 * Reads have no headers of their own, and so take no preflight.
 */
export function makeApi(root) {
  let hasReports = true;

  /** The address of what stands at this path below the counter's. */
  const url = (counterId, path) => `${root}/counters/${counterId}${path}`;

  /** What stands there; the counter's state if the path is empty. */
  const get = (counterId, path, signal, options) => ask(url(counterId, path), signal, options);

  /**
   * It is recorded, once however often it is sent with this key. Returns the event.
   *
   * With a version: only if the counter is at that. Returns the counter's new state.
   */
  function increment(counterId, key, by, version) {
    const condition = version === undefined ? {} : { "If-Match": `"${version}"` };
    const headers = { "Content-Type": "application/json", "Idempotency-Key": key, ...condition };
    return get(counterId, "/increments", null, { method: "POST", headers, body: JSON.stringify({ by }) });
  }

  /** The rows of a report, or null where the API makes none, which is asked once. */
  async function report(path, signal) {
    try {
      return hasReports ? (await ask(`${root}/reports/${path}`, signal, { cache: "default" })).rows : null;
    } catch (error) {
      if (error.status !== 404) throw error;
      hasReports = false;
      return null;
    }
  }

  return { url, get, increment, report };
}

async function ask(url, signal, { as = "json", ...options } = {}) {
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
  // A command that somebody on the way refused, and not the API, is not to be lost for it.
  const isRefused = options.method ? REFUSALS.includes(status) && problem.detail : status !== 429 && status < 500;
  throw isRefused ? new RefusedError(status, problem) : new UnavailableError(retryAfterMs(response));
}

/** The header holds seconds or a date (RFC 9110, section 10.2.3). */
function retryAfterMs(response) {
  const text = response.headers.get("Retry-After");
  const ms = 1000 * text || Date.parse(text) - Date.now();
  return Math.min(Math.max(ms || 0, 0), 3_600_000);
}
