import { makeKey, RefusedError, request, UnavailableError } from "./api.js";

/** Check up to this number of events one by one, more with a page of the latest. */
const FEW = 2;
const PAGE_SIZE = 100;

/** Read the counter’s name from a name or an address of this page, percent-encoded or not. */
export function readCounterId(text) {
  try {
    text = decodeURIComponent(text);
  } catch {}
  return text.trim().replace(/^.*#\/?/, "");
}

/** Also exclude "." and "..", because browsers remove them from addresses. */
export function isCounterId(text) {
  return /^(?!\.{1,2}$)[A-Za-z0-9._~-]{1,64}$/.test(text ?? "");
}

/**
 * Make this page's view of one counter. `state` is the state shown, at first null.
 *
 * `earlyRead` is the promise of a state that is being read already. `checkMany` is for counters with many clicks:
 * `checkLatest`.
 */
export function makeCounter(id, api, outbox, earlyRead, checkMany) {
  /** Return increments that are not known to be included in the value shown. */
  const getPending = () => outbox.getClicks(id);
  const counter = { id, state: null, getPending, refresh };
  let hasCached = true;

  /**
   * Read the state and, in the same step, forget the pending increments that it includes.
   *
   * Value and events come in separate responses. The value includes an event that was counted before the value was
   * read, but not one that is pending afterwards. Otherwise, read the value again.
   *
   * Without pending increments, the state may be from a cache, but never older than the state shown.
   */
  async function refresh(signal, mayBeCached) {
    let state;
    for (let isStale = true; isStale; ) {
      state = await read(signal, mayBeCached && !getPending().length);
      isStale = false;
      for (let clicks; !isStale && (clicks = getPending().filter(isUnchecked(state.version))).length; ) {
        await checkClicks(clicks, state.version, signal);
        isStale = clicks.some((click) => click.counted);
      }
    }
    counter.state = state;
    for (const click of getPending()) if (click.counted) outbox.forget(click);
  }

  async function read(signal, mayBeCached) {
    const early = earlyRead;
    earlyRead = null;
    const state = await (early ?? (mayBeCached && hasCached ? readCached(signal) : api.get(id, "", signal)));
    // An early read has no signal.
    signal?.throwIfAborted();
    return state;
  }

  /** Read the state through caches, or past them if it is older than the state shown or the API has no such route. */
  async function readCached(signal) {
    const cached = await api.get(id, "/cached", signal, { cache: "default" }).catch((error) => error);
    if (cached.version >= counter.state.version) return cached;
    if (cached.retryAfterMs) throw cached;
    const state = await api.get(id, "", signal);
    if (cached instanceof Error) hasCached = false;
    return state;
  }

  async function checkClicks(clicks, version, signal) {
    await checkMany?.(clicks, version, api.buildUrl(id, "/events"), signal);
    await Promise.all(clicks.filter(isUnchecked(version)).map((click) => checkClick(click, version, signal)));
  }

  async function checkClick(click, version, signal) {
    try {
      click.counted = (await api.get(id, `/events/${click.event.id}`, signal)).status === "counted";
      click.absentFrom = version;
    } catch (error) {
      // The event log was deleted.
      if (error instanceof RefusedError) outbox.forget(click);
      throw error;
    }
  }

  return counter;
}

/** Check the clicks, if they are many, with one page of the latest events. Leave those that can be on another page. */
export async function checkLatest(clicks, version, url, signal) {
  if (clicks.length <= FEW) return;
  const { events, next_cursor: more } = await request(`${url}?limit=${PAGE_SIZE}`, signal);
  const ids = new Set(events.map((event) => event.event_id));
  // Times sort as text. Only older events can be on another page.
  const oldest = more ? events.at(-1).recorded_at : "";
  for (const click of clicks) {
    click.counted = ids.has(click.event.id);
    if (!click.counted && click.event.recordedAt > oldest) click.absentFrom = version;
  }
}

/** Let the counter swap. `openSwap` is a swap without a response, `isUnknown` if that is lost. */
export function addSwap(counter, api) {
  /**
   * Increment only if the counter is at the version shown. Return the new state.
   *
   * A swap is never stored. Until it has a response, another call retries it.
   */
  async function swap(by) {
    const attempt = (counter.openSwap ??= { ...counter.state, key: makeKey(), by });
    try {
      attempt.answer ??= api.increment(counter.id, attempt.key, attempt.by, { "If-Match": `"${attempt.version}"` });
      const state = await attempt.answer;
      counter.openSwap = null;
      return state;
    } catch (error) {
      attempt.answer = null;
      if (error instanceof UnavailableError) attempt.isUnknown = true;
      else counter.openSwap = null;
      throw error;
    }
  }

  return Object.assign(counter, { openSwap: null, swap });
}

/** Select the recorded clicks to check: once per version, which is the number of counted events. */
function isUnchecked(version) {
  return (click) => click.event && !click.counted && click.absentFrom !== version;
}
