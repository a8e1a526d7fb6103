/** Cache the current version of the page, so that it opens offline. */
export async function cachePage() {
  try {
    await navigator.serviceWorker.register("service-worker.js");
    const page = location.href.replace(/[#?].*/, "");
    const index = await fetch(page);
    // A newer version of the page uses other scripts.
    if (!index.ok || !(await index.clone().text()).includes(`"${document.querySelector("script[src]").getAttribute("src")}"`)) return;
    const files = performance.getEntriesByType("resource").filter(
      // Fetched resources belong to the API, which may have the same host.
      ({ name, initiatorType }) => initiatorType !== "fetch" && name.startsWith(new URL("..", import.meta.url)),
    );
    const urls = new Set(files.map(({ name }) => name));
    const cache = await caches.open("page");
    await cache.addAll(urls);
    // The installed app starts at index.html.
    const names = [new URL("index.html", page).href, page];
    for (const name of names) await cache.put(name, index.clone());
    for (const { url } of await cache.keys()) if (!names.includes(url) && !urls.has(url)) await cache.delete(url);
  } catch {}
}
