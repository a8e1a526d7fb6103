const RECORDED_KEPT_MS = 86_400_000;

/**
 * What was clicked and is not known to be counted, kept by the browser over reloads.
 *
 * Each click belongs to one tab, which sends it. A tab holds a lock while it lives, so that others know whose clicks
 * are left over. Where the browser keeps nothing, `isKept` is false.
 */
export async function openStore() {
  const tab = crypto.randomUUID();
  let db = await open(tab).catch(() => null);

  /** The change is made; or it cannot be, for want of room say, and nothing is kept from now on. */
  function change(make) {
    return new Promise((resolve) => {
      const fail = () => resolve((db = null));
      try {
        const transaction = db.transaction("clicks", "readwrite");
        Object.assign(transaction, { oncomplete: resolve, onabort: fail });
        // What is one request is committed in the same breath: the page may be gone in a moment.
        if (make(transaction.objectStore("clicks"))) transaction.commit();
      } catch {
        fail();
      }
    });
  }

  return {
    isKept: () => db !== null,

    /** The click is kept as it is now. */
    put: ({ key, counterId, by, at, event }) => change((clicks) => clicks.put({ key, counterId, by, at, event, tab })),

    remove: (key) => change((clicks) => clicks.delete(key)),

    /**
     * What closed tabs left is this tab's now. Returns it; of several tabs at once, each gets its own.
     *
     * What was recorded long ago is forgotten.
     */
    async adopt() {
      const alive = db && (await navigator.locks.query()).held.map((lock) => lock.name);
      const found = [];
      await change((clicks) => {
        clicks.getAll().onsuccess = ({ target }) => {
          for (const click of target.result.filter((one) => !alive.includes(one.tab))) {
            if (click.event && Date.now() - click.at > RECORDED_KEPT_MS) clicks.delete(click.key);
            else clicks.put({ ...click, tab }).onsuccess = () => found.push(click);
          }
        };
      });
      return found;
    },
  };
}

async function open(tab) {
  await new Promise((taken) => navigator.locks.request(tab, () => new Promise(() => taken())));
  const request = indexedDB.open("counter", 1);
  request.onupgradeneeded = () => request.result.createObjectStore("clicks", { keyPath: "key" });
  await new Promise((resolve, reject) => Object.assign(request, { onsuccess: resolve, onerror: reject }));
  return request.result;
}
