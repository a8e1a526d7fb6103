const ITEM = "counter states";
const MAX_STATES = 50;

/** Return the last known state of the counter with this address, and the time `at` which it was read, or null. */
export function readLastState(address) {
  return readStates()[address] ?? null;
}

/**
 * Keep the counter's state in this browser, if it has storage. Forget the one that was kept longest ago.
 *
 * Return the state with the time `at` which it was read, which is now.
 */
export function keepState(address, { value, version, updated_at }) {
  const { [address]: _, ...states } = readStates();
  const entries = Object.entries(states).slice(1 - MAX_STATES);
  const state = { value, version, updated_at, at: Date.now() };
  try {
    localStorage.setItem(ITEM, JSON.stringify(Object.fromEntries([...entries, [address, state]])));
  } catch {}
  return state;
}

function readStates() {
  try {
    return JSON.parse(localStorage.getItem(ITEM)) ?? {};
  } catch {
    return {};
  }
}
