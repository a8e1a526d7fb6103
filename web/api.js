/** Longer than API Gateway takes to give up. */
const TIMEOUT_MS = 30_000;

/** Nothing is known about what became of the request: send it again, an increment with the same key. */
export class UnavailableError extends Error {
  /** @param {number} retryAfterMs what the API asks for, 0 if nothing */
  constructor(retryAfterMs = 0) {
    super("The API is out of reach.");
    this.retryAfterMs = retryAfterMs;
  }
}

/** The request was understood and not done; the message is the API's own. Sending it again changes nothing. */
export class RefusedError extends Error {}

/**
 * The requests that this page makes. All of them throw UnavailableError or RefusedError, or stop with their signal.
 *
 * Reads bypass the browser's own cache. For the command that would only bring a preflight before each one.
 */
export class Api {
  constructor(url) {
    this.url = url;
  }

  /** Record an increment, once however often it is sent with this key. Returns the address of its event. */
  async increment(counterId, key) {
    const url = `${this.url}/counters/${counterId}/increments`;
    const response = await ask(url, { method: "POST", headers: { "Idempotency-Key": key } });
    return new URL(response.headers.get("Location"), response.url).href;
  }

  /** The counter's state, or null if that is still the given version. */
  async counter(counterId, knownVersion, signal) {
    const headers = knownVersion === undefined ? {} : { "If-None-Match": `"${knownVersion}"` };
    const response = await ask(`${this.url}/counters/${counterId}`, { headers, signal, cache: "no-store" });
    return response.status === 304 ? null : body(response);
  }

  /** Whether the event at this address is part of its counter's value. */
  async isCounted(eventUrl, signal) {
    const { status } = await body(await ask(eventUrl, { signal, cache: "no-store" }));
    return status === "counted";
  }
}

async function ask(url, { signal, ...options }) {
  const signals = [AbortSignal.timeout(TIMEOUT_MS), ...(signal ? [signal] : [])];
  let response;
  try {
    response = await fetch(url, { ...options, signal: AbortSignal.any(signals) });
  } catch {
    signal?.throwIfAborted();
    throw new UnavailableError();
  }
  if (response.ok || response.status === 304) return response;
  if (response.status === 429 || response.status >= 500) throw new UnavailableError(retryAfterMs(response));
  const problem = await response.json().catch(() => ({}));
  throw new RefusedError(problem.detail ?? `The API answered ${response.status} and does not say why.`);
}

async function body(response) {
  try {
    return await response.json();
  } catch {
    // Cut off on the way.
    throw new UnavailableError();
  }
}

/** The header holds seconds or a date (RFC 9110, section 10.2.3). */
function retryAfterMs(response) {
  const text = response.headers.get("Retry-After") ?? "0";
  const ms = /^\d+$/.test(text) ? Number(text) * 1000 : Date.parse(text) - Date.now();
  return Math.min(Math.max(ms || 0, 0), 3_600_000);
}
