/** The time after which an unresponsive host counts as down, and the time until the next request to it. */
const TIMEOUT_MS = 3_000;
const DOWN_MS = 30_000;
let downUntil = 0;

/**
 * Serve the page's files from the network or, if the host is unreachable, slow or failing, from the cache of
 * offline-cache.js.
 */
addEventListener("fetch", (event) => {
  const { request } = event;
  // Requests of scripts have no destination. They are for the API, which may have the same host.
  if (!request.destination) return;
  event.respondWith(serve(request));
});

async function serve(request) {
  // A cache that cannot be read must not keep the page from the network.
  const copy = await caches.match(request, { ignoreSearch: true }).catch(() => undefined);
  if (!copy) return fetch(request);
  if (performance.now() < downUntil) return copy;
  // A request that is not aborted would occupy one of the browser's connections to the host.
  const controller = new AbortController();
  const timer = setTimeout(() => {
    downUntil = performance.now() + DOWN_MS;
    controller.abort();
  }, TIMEOUT_MS);
  const response = await fetch(request, { signal: controller.signal }).catch(() => copy);
  clearTimeout(timer);
  return response.status < 500 ? response : copy;
}
