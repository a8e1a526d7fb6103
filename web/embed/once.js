import { makeKey } from "../client/api.js";
import { readItem, writeItem } from "../client/storage.js";

/** The period in which a visitor counts once: ever, or the day (UTC). */
const getPeriod = (once) => (once === "day" ? new Date().toISOString().slice(0, 10) : "visitor");

/**
 * Return the key with which this visitor counts once, or `true` if that increment was recorded. Without a key, return
 * undefined.
 *
 * The visitor's first increment gets a random key, which the browser keeps in an item with the counter's address as its
 * name. All tabs, elements and retries send this key, and therefore count once. Nothing else about the visitor is kept.
 */
export function readKey(address, once) {
  return readItem(address)?.[getPeriod(once)];
}

/** Choose the key if there is none yet, and return what `readKey` returns. Throw if the browser has no storage. */
export async function chooseKey(address, once) {
  function choose() {
    const keys = readItem(address) ?? {};
    const [period, today] = [once, "day"].map(getPeriod);
    keys[period] ??= makeKey();
    writeItem(address, { visitor: keys.visitor, [today]: keys[today] });
    const kept = readKey(address, once);
    if (!kept) throw new Error("This browser has no storage.");
    return kept;
  }
  // Without HTTPS, there are no locks: two tabs that count for the first time simultaneously may count twice.
  return globalThis.navigator?.locks?.request(address, choose) ?? choose();
}

/** Mark the increment with this key as recorded. */
export function confirmKey(address, key) {
  const keys = readItem(address);
  for (const period in keys) if (keys[period] === key) writeItem(address, { ...keys, [period]: true });
}
