import { makeKey } from "../client/api.js";
import { readItem, writeItem } from "../client/storage.js";

const getName = (address) => `counter once ${address}`;
/** The period in which a visitor counts once: ever, or the day (UTC). */
const getPeriod = (once) => (once === "day" ? new Date().toISOString().slice(0, 10) : "visitor");

/**
 * Return the key with which this visitor counts once, `true` if it was recorded, or undefined if there is none yet.
 *
 * The visitor's first increment gets a random key, which the browser keeps. All tabs, elements and retries send this
 * key, and therefore count once. It is all that is kept of the visitor.
 */
export function readKey(address, once) {
  return readItem(getName(address))?.[getPeriod(once)];
}

/** Choose the key if there is none yet, and return as `readKey`: undefined without storage. */
export async function chooseKey(address, once) {
  function choose() {
    const keys = readItem(getName(address)) ?? {};
    const [period, today] = [once, "day"].map(getPeriod);
    keys[period] ??= makeKey();
    writeItem(getName(address), { visitor: keys.visitor, [today]: keys[today] });
    return readKey(address, once);
  }
  // Without HTTPS, there are no locks: tabs that count for the first time at once may count twice.
  const { locks } = globalThis.navigator ?? {};
  return locks ? locks.request(getName(address), choose) : choose();
}

/** Note that the increment with this key was recorded. */
export function confirmKey(address, key) {
  const keys = readItem(getName(address));
  for (const period in keys) if (keys[period] === key) writeItem(getName(address), { ...keys, [period]: true });
}
