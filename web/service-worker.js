/** Answer requests for the page's files from the network or, without a network, from the cache of offline-cache.js. */
addEventListener("fetch", (event) => {
  const { request } = event;
  // Requests of scripts have no destination. Except for config.json they go to the API, which may have the same host.
  if (!request.destination && request.url !== new URL("config.json", location).href) return;
  event.respondWith(fetch(request).catch(() => caches.match(request, { ignoreSearch: true })));
});
