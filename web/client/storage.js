/** Read the item, as JSON, from the storage that this browser may have. */
export function readItem(name) {
  try {
    return JSON.parse(localStorage.getItem(name));
  } catch {
    return null;
  }
}

/** Write the item, if there is storage. */
export function writeItem(name, value) {
  try {
    localStorage.setItem(name, JSON.stringify(value));
  } catch {}
}
