/** Read the item's JSON value from local storage. Return null if there is no such item or no storage. */
export function readItem(name) {
  try {
    return JSON.parse(localStorage.getItem(name));
  } catch {
    return null;
  }
}

/** Write the item's value as JSON, if there is storage. */
export function writeItem(name, value) {
  try {
    localStorage.setItem(name, JSON.stringify(value));
  } catch {}
}
