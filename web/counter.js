import { RefusedError, UnavailableError } from "./api.js";

/** Up to a few events are asked about one by one, and more by a page of the latest. */
const FEW = 2;
const PAGE = 100;

/** "." and ".." are good ids too, but a browser takes them out of every address. */
export function isCounterId(text) {
  return /^(?!\.{1,2}$)[A-Za-z0-9._~-]{1,64}$/.test(text);
}

/**
 * One counter as this page knows it: what the API counted, and the increments made here that are not part of it.
 *
 * `state` is what is shown, null until the API has answered; `asked` is the swap without an answer, `isLost` if that is.
 */
export function makeCounter(id, api, outbox) {

  /** The increments made here that are not known to be part of the value shown. */
  const pending = () => outbox.of(id);
  const counter = { id, state: null, asked: null, pending, swap, refresh };

  /**
   * It is recorded only if the counter is at the version shown. Returns the new state.
   *
   * It is about now, and not kept. Until there is an answer, another call is about the same swap.
   */
  async function swap(by) {
    const asked = (counter.asked ??= { ...counter.state, key: crypto.randomUUID(), by });
    try {
      asked.answer ??= api.increment(id, asked.key, asked.by, asked.version);
      const state = await asked.answer;
      counter.asked = null;
      return state;
    } catch (error) {
      asked.answer = null;
      if (error instanceof UnavailableError) asked.isLost = true;
      else counter.asked = null;
      throw error;
    }
  }

  /**
   * Read the state anew, and in the same step cease to call pending what the new value contains.
   *
   * Value and events come in answers of their own. An event found counted before the value was read is part of it; one
   * found pending after is not. Whichever fits neither: read the value again.
   */
  async function refresh(signal) {
    let state;
    for (let moved = true; moved; ) {
      state = await api.get(id, "", signal);
      moved = false;
      for (let open; !moved && (open = pending().filter(isOpen(state.version))).length; ) {
        await check(open, state.version, signal);
        moved = open.some((click) => click.counted);
      }
    }
    counter.state = state;
    for (const click of pending()) if (click.counted) outbox.settle(click);
  }

  async function check(clicks, version, signal) {
    if (clicks.length > FEW) {
      const { events, next_cursor: more } = await api.get(id, `/events?limit=${PAGE}`, signal);
      const ids = new Set(events.map((event) => event.event_id));
      // Times of one form sort as text. What is not on this page may be on one behind it only if it is older.
      const oldest = more ? events.at(-1).recorded_at : "";
      for (const click of clicks) {
        click.counted = ids.has(click.event.id);
        if (!click.counted && click.event.recordedAt > oldest) click.absentFrom = version;
      }
    }
    await Promise.all(clicks.filter(isOpen(version)).map((click) => checkOne(click, version, signal)));
  }

  async function checkOne(click, version, signal) {
    try {
      click.counted = (await api.get(id, `/events/${click.event.id}`, signal)).status === "counted";
      click.absentFrom = version;
    } catch (error) {
      // The log was emptied under us.
      if (error instanceof RefusedError) outbox.settle(click);
      throw error;
    }
  }

  return counter;
}

/** A version is the number of events counted: as long as it stands, no event need be asked about twice. */
function isOpen(version) {
  return (click) => click.event && !click.counted && click.absentFrom !== version;
}
