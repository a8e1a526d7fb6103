/** The page opens without a network from now on, as it is now, where the browser allows that. */
export async function keepPage() {
  try {
    await navigator.serviceWorker.register("worker.js");
    const page = location.href.replace(/[#?].*/, "");
    const loaded = performance.getEntriesByType("resource").map(({ name }) => name);
    const wanted = [page, ...new Set(loaded.filter((url) => url.startsWith(new URL(".", page))))];
    const cache = await caches.open("page");
    await cache.addAll(wanted);
    for (const { url } of await cache.keys()) if (!wanted.includes(url)) await cache.delete(url);
  } catch {}
}
