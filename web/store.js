const MAX_RECORDED_AGE_MS = 86_400_000;

/**
 * Open the store: the clicks that are not known to be counted, kept by the browser over reloads.
 *
 * Each click belongs to the tab that sends it. A tab holds a lock while it is open, so that other tabs recognise the
 * clicks of closed tabs. If the browser offers no storage, `isPersistent` returns false and nothing is stored.
 */
export async function openStore() {
  const tab = crypto.randomUUID();
  let db = await openDatabase(tab).catch(() => null);

  /** Run the transaction. If it fails, for example because the storage is full, store nothing from now on. */
  function write(change) {
    return new Promise((resolve) => {
      const giveUp = () => resolve((db = null));
      try {
        const transaction = db.transaction("clicks", "readwrite");
        Object.assign(transaction, { oncomplete: resolve, onabort: giveUp });
        // A transaction of one request is committed immediately, because the page may be closed at any moment.
        if (change(transaction.objectStore("clicks"))) transaction.commit();
      } catch {
        giveUp();
      }
    });
  }

  return {
    isPersistent: () => db !== null,

    /** Store the click as it is now. */
    put: ({ key, counterId, by, at, event }) => write((clicks) => clicks.put({ key, counterId, by, at, event, tab })),

    remove: (key) => write((clicks) => clicks.delete(key)),

    /**
     * Take over the clicks of closed tabs and return them. Concurrent tabs get different clicks.
     *
     * Delete clicks that were recorded long ago.
     */
    async adopt() {
      const openTabs = db && (await navigator.locks.query()).held.map((lock) => lock.name);
      const adopted = [];
      await write((clicks) => {
        clicks.getAll().onsuccess = ({ target }) => {
          for (const click of target.result.filter((stored) => !openTabs.includes(stored.tab))) {
            if (click.event && Date.now() - click.at > MAX_RECORDED_AGE_MS) clicks.delete(click.key);
            else clicks.put({ ...click, tab }).onsuccess = () => adopted.push(click);
          }
        };
      });
      return adopted;
    },
  };
}

async function openDatabase(tab) {
  await new Promise((onLocked) => navigator.locks.request(tab, () => new Promise(() => onLocked())));
  const request = indexedDB.open("counter", 1);
  request.onupgradeneeded = () => request.result.createObjectStore("clicks", { keyPath: "key" });
  await new Promise((resolve, reject) => Object.assign(request, { onsuccess: resolve, onerror: reject }));
  return request.result;
}
