import { makeKey } from "./api.js";

const MAX_RECORDED_AGE_MS = 86_400_000;
/** Another tab can block the database. */
const OPEN_TIMEOUT_MS = 3_000;

/**
 * Open the store, which keeps clicks across reloads until they are known to be counted.
 *
 * Each click belongs to the tab that sends it. A tab holds a lock while it is open, so that other tabs recognize the
 * clicks of closed tabs. Without storage, and until it is open, `isPersistent` returns false: clicks are in memory.
 *
 * `apis` are the addresses of APIs. New clicks are stored with the first address; clicks of all are adopted. The
 * page's own clicks are stored with `undefined`, so that they follow the page if its API's address changes.
 */
export function openStore(apis) {
  const tab = makeKey();
  const [api] = apis;
  let db = null;
  const giveUp = () => (db = null);
  const opening = openDatabase(tab, giveUp).then((opened) => (db = opened), giveUp);

  /** Run a transaction. If it fails, stop storing clicks. */
  async function write(change) {
    await opening;
    await new Promise((oncomplete, onabort) => {
      // Without a database, this line throws.
      const transaction = db.transaction("clicks", "readwrite");
      Object.assign(transaction, { oncomplete, onabort });
      // Commit a single request now: the page may close.
      if (change(transaction.objectStore("clicks"))) transaction.commit();
    }).catch(giveUp);
  }

  return {
    isPersistent: () => !!db,

    /** Store the click as it is now. */
    save({ key, counterId, by, at, event }) {
      return write((clicks) => clicks.put({ key, counterId, by, at, event, tab, api }));
    },

    erase: (key) => write((clicks) => clicks.delete(key)),

    /**
     * Take over the clicks of closed tabs and return them; delete those recorded long ago.
     *
     * Concurrent tabs get different clicks.
     */
    async adopt() {
      await opening;
      const openTabs = db && (await navigator.locks.query()).held.map((lock) => lock.name);
      const adopted = [];
      await write((clicks) => {
        clicks.getAll().onsuccess = ({ target }) => {
          for (const click of target.result) {
            if (openTabs.includes(click.tab) || !apis.includes(click.api)) continue;
            if (click.event && Date.now() - click.at > MAX_RECORDED_AGE_MS) clicks.delete(click.key);
            else clicks.put({ ...click, tab }).onsuccess = () => adopted.push(click);
          }
        };
      });
      return adopted;
    },
  };
}

function openDatabase(tab, onClosed) {
  return new Promise((resolve, reject) => {
    function open() {
      const request = indexedDB.open("counter", 1);
      setTimeout(reject, OPEN_TIMEOUT_MS);
      request.onupgradeneeded = () => request.result.createObjectStore("clicks", { keyPath: "key" });
      request.onerror = reject;
      request.onsuccess = () => {
        const db = request.result;
        // Make way for a tab that deletes or upgrades the database.
        db.onversionchange = db.onclose = () => {
          db.close();
          onClosed();
        };
        resolve(db);
      };
    }
    // Hold the lock while the tab is open. A browser without storage refuses locks, and Node has no database.
    navigator.locks.request(tab, () => new Promise(open)).catch(reject);
  });
}
