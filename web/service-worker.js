/** Serve the page's files from the network or, offline, from the cache of offline-cache.js. */
addEventListener("fetch", (event) => {
  const { request } = event;
  // Fetches have no destination. All but config.json are for the API, which may have the same host.
  if (!request.destination && request.url !== new URL("config.json", location).href) return;
  event.respondWith(fetch(request).catch(() => caches.match(request, { ignoreSearch: true })));
});
