/** Longer than API Gateway's own timeout. */
const TIMEOUT_MS = 30_000;

/** Longer than a cold start. A lost response must not delay the number until API Gateway's timeout. */
const READ_TIMEOUT_MS = 10_000;

/** The time by which the browser’s clock is behind the API’s. */
let clockLagMs = 0;

/** The problem types that refuse a command because of its form, its condition, its counter or its caller. */
const REFUSAL = /^urn:counter:problem:(invalid|body|key|version|counter|forbidden|unauthorized)/;

/** The outcome of the request is unknown. Retry the request; retry a command with the same key. */
export class UnavailableError extends Error {
  constructor(retryAfterMs = 0) {
    super("Cannot reach the API.");
    this.retryAfterMs = retryAfterMs;
  }
}

/** The API refused the request. If the version did not match, `problem.current` is the counter's state. */
export class RefusedError extends Error {
  constructor(status, problem) {
    super(problem.detail ?? `The API responded with ${status}.`);
    this.status = status;
    this.problem = problem;
  }
}

/** Read the API’s clock, in milliseconds since 1970: the browser’s clock may be wrong. */
export function readNow() {
  return Date.now() + clockLagMs;
}

/** Make a random key of 128 bits. Unlike crypto.randomUUID, this works without HTTPS. */
export function makeKey() {
  return btoa(String.fromCharCode(...crypto.getRandomValues(new Uint8Array(16))));
}

/**
 * Make a client of the API. Its functions throw UnavailableError or RefusedError, or stop when their signal aborts.
 *
 * Reads set no headers, so they need no preflight.
 */
export function makeApi(root) {
  const buildUrl = (counterId, path) => `${root}/counters/${counterId}${path}`;

  /** Get the resource at this path below the counter: an event or, for an empty path, the counter's state. */
  async function get(counterId, path, signal, options, timeoutMs = READ_TIMEOUT_MS) {
    const answer = await request(buildUrl(counterId, path), signal, options, timeoutMs);
    // A captive portal may respond with JSON that does not name the counter.
    if (!answer?.counter_id) throw new UnavailableError();
    return answer;
  }

  /** Increment the counter and return the event. A retry with the same key counts once. */
  function increment(counterId, key, by, conditions) {
    const headers = { "Content-Type": "application/json", "Idempotency-Key": key, ...conditions };
    const options = { method: "POST", headers, body: JSON.stringify({ by }) };
    return get(counterId, "/increments", null, options, TIMEOUT_MS);
  }

  return { buildUrl, get, increment };
}

/**
 * Request this address, and return the body of the response.
 *
 * Without options, the browser checks that its copy is current. A command sets options: with the mode "no-cache",
 * Chromium would send a preflight before each command.
 */
export async function request(
  url,
  signal,
  { as = "json", ...options } = { cache: "no-cache" },
  timeoutMs = TIMEOUT_MS,
) {
  const timeout = AbortSignal.timeout(timeoutMs);
  let response;
  try {
    response = await fetch(url, { ...options, signal: AbortSignal.any([timeout, signal ?? timeout]) });
    if (options.cache !== "default") setClock(response);
    if (response.ok) return await response[as]();
  } catch {
    signal?.throwIfAborted();
    response = Response.error();
  }
  const { status } = response;
  const problem = (await response.json().catch(() => null)) ?? {};
  // A proxy's refusal must not lose a command: let the caller retry it.
  const isRefused = options.method ? REFUSAL.test(problem.type) : /^4(?!29)/.test(status);
  throw isRefused ? new RefusedError(status, problem) : new UnavailableError(readRetryAfterMs(response));
}

/** Set `readNow`'s clock. The embeddable client does not use this clock: the annotation lets its bundle omit it. */
function setClock(response) {
  const ms = /* @__PURE__ */ readDate(response);
  if (ms) clockLagMs = ms - Date.now();
}

function readDate(response) {
  return Date.parse(response.headers.get("Date"));
}

/** Read Retry-After in milliseconds, at most an hour. A date or a negative number, as a proxy may send, counts as 0. */
function readRetryAfterMs(response) {
  return Math.min(Math.max(1000 * response.headers.get("Retry-After"), 0) || 0, 3_600_000);
}
