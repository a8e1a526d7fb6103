/** What the page is made of comes from the network, and where there is none, from what keep.js has kept. */
addEventListener("fetch", (event) => {
  const { request } = event;
  // What a script fetches has no destination, and is of the API, which may have the same host, but for this.
  if (!request.destination && request.url !== new URL("config.json", location).href) return;
  event.respondWith(fetch(request).catch(() => caches.match(request, { ignoreSearch: true })));
});
