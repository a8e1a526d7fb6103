import { readItem, writeItem } from "./storage.js";

const ITEM = "counter states";
const MAX_STATES = 50;

/** Return the last known state of the counter with this address, or null. The state's `at` is the time of its read. */
export function readLastState(address) {
  return readItem(ITEM)?.[address] ?? null;
}

/** List the addresses of the counters whose state is kept, beginning with the one that was kept last. */
export function listAddresses() {
  return Object.keys(readItem(ITEM) ?? {}).reverse();
}

/** Keep the counter's state in this browser, and return it with its time. If there are too many, forget the oldest. */
export function keepState(address, state) {
  const { [address]: _, ...others } = readItem(ITEM) ?? {};
  const kept = { ...state, at: Date.now() };
  writeItem(ITEM, Object.fromEntries([...Object.entries(others).slice(1 - MAX_STATES), [address, kept]]));
  return kept;
}
