/** What the page loads comes from the network, and where there is none, from what keep.js has kept. */
addEventListener("fetch", (event) => {
  if (event.request.url.startsWith(registration.scope)) event.respondWith(answer(event.request));
});

async function answer(request) {
  try {
    return await fetch(request);
  } catch (error) {
    return (await caches.match(request, { ignoreSearch: true })) ?? Promise.reject(error);
  }
}
