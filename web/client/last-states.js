import { readItem, writeItem } from "./storage.js";

const ITEM = "counter states";
const MAX_STATES = 50;

/** Return the last known state of the counter with this address, and the time `at` which it was read, or null. */
export function readLastState(address) {
  return readItem(ITEM)?.[address] ?? null;
}

/** Keep the counter's state in this browser, and return it with its time. Forget the one that was kept longest ago. */
export function keepState(address, state) {
  const { [address]: _, ...others } = readItem(ITEM) ?? {};
  const kept = { ...state, at: Date.now() };
  writeItem(ITEM, Object.fromEntries([...Object.entries(others).slice(1 - MAX_STATES), [address, kept]]));
  return kept;
}
