import { makeKey, RefusedError, request, UnavailableError } from "./api.js";

/** Check up to this number of events one by one, and more events with a page of the latest ones. */
const FEW = 2;
const PAGE_SIZE = 100;

/** Read the counter’s name from a name or an address of this page, percent-encoded or not. */
export function readCounterId(text) {
  try {
    text = decodeURIComponent(text);
  } catch {}
  return text.trim().replace(/^.*#\/?/, "");
}

/** Check whether this is a valid id. "." and ".." are invalid, because browsers remove them from addresses. */
export function isCounterId(text) {
  return /^(?!\.\.?$)[\w.~-]{1,64}$/.test(text ?? "");
}

/**
 * Make this page's view of one counter. `state` is the state shown, at first null.
 *
 * `checkMany`, if given, checks many clicks with few requests, as `checkLatest` does.
 */
export function makeCounter(id, api, outbox, checkMany) {
  /** Return the increments that are not known to be included in the value shown. */
  const getPending = () => outbox.getClicks(id);
  const counter = { id, state: null, getPending, refresh };

  /**
   * Read the state and, in the same step, forget the pending increments that it includes.
   *
   * Value and events come in separate responses. If an event is still pending after the value was read, the value does
   * not include it. If the event is counted by then, the value may or may not include it, and is read again.
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

  /** Read the state, from a cache if allowed. If that fails, or the state is older than the one shown, ask the API. */
  async function read(signal, mayBeCached) {
    if (mayBeCached) {
      const cached = await api.get(id, "/cached", signal, { cache: "default" }).catch((error) => error);
      if (cached.retryAfterMs) throw cached;
      if (cached.version >= counter.state.version) return cached;
    }
    return api.get(id, "", signal);
  }

  async function checkClicks(clicks, version, signal) {
    if (checkMany) {
      await checkMany(clicks, version, api.buildUrl(id, "/events"), signal);
      clicks = clicks.filter(isUnchecked(version));
    }
    await Promise.all(clicks.map((click) => checkClick(click, version, signal)));
  }

  async function checkClick(click, version, signal) {
    try {
      click.counted = (await api.get(id, `/events/${click.event.id}`, signal)).status === "counted";
      click.absentFrom = version;
    } catch (error) {
      // The API does not have the event: the event log was deleted.
      if (error instanceof RefusedError) outbox.forget(click);
      throw error;
    }
  }

  return counter;
}

/** Let the API's first read return `earlyRead`: the promise of a state whose request is already under way. */
export function addEarlyRead(api, earlyRead) {
  async function get(counterId, path, signal, options) {
    const early = earlyRead;
    earlyRead = null;
    if (!early) return api.get(counterId, path, signal, options);
    const state = await early;
    // An early read has no signal.
    signal?.throwIfAborted();
    return state;
  }

  return { ...api, get };
}

/** Check many clicks with one page of the latest events. Leave clicks whose events may be on another page. */
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

/** Add `swap` to a counter. `openSwap` is the swap without a response; it `isUnknown` if a response was lost. */
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

/** Return a filter for recorded clicks that may be counted, and were not yet checked at this version of the counter. */
function isUnchecked(version) {
  return (click) => click.event && !click.counted && click.absentFrom !== version;
}
