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
  return /^(?!\.\.?$)[\w.~-]{1,64}$/.test(text ?? "");
}

/**
 * Make this page's view of one counter. `state` is the state shown, at first null.
 *
 * `checkMany` is for counters with many clicks: `checkLatest`.
 */
export function makeCounter(id, api, outbox, checkMany) {
  /** Return increments that are not known to be included in the value shown. */
  const getPending = () => outbox.getClicks(id);
  const counter = { id, state: null, getPending, refresh };

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

  /** Read the state through caches. If that fails, or the state is older than the one shown, read past them. */
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
      // The event log was deleted.
      if (error instanceof RefusedError) outbox.forget(click);
      throw error;
    }
  }

  return counter;
}

/** Let the API's first read be one that is under way. It is the promise of a counter's state. */
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
