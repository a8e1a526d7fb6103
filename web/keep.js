/** The page opens without a network from now on, as it is now, where the browser allows that. */
export async function keepPage() {
  try {
    await navigator.serviceWorker.register("worker.js");
    const page = location.href.replace(/[#?].*/, "");
    const index = await fetch(page);
    // If another version is published by now, its page would find none of these scripts.
    if (!(await index.clone().text()).includes(`"${document.scripts[0].getAttribute("src")}"`)) return;
    const parts = performance.getEntriesByType("resource").filter(
      // What was fetched is of the API, which may have the same host.
      ({ name, initiatorType }) => initiatorType !== "fetch" && name.startsWith(new URL(".", import.meta.url)),
    );
    const wanted = new Set([new URL("config.json", page).href, ...parts.map(({ name }) => name)]);
    const cache = await caches.open("page");
    await cache.addAll(wanted);
    await cache.put(page, index);
    for (const { url } of await cache.keys()) if (url !== page && !wanted.has(url)) await cache.delete(url);
  } catch {}
}
