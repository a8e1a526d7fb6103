/** The API's address, from config.json beside the page. Throws an Error whose message says what to do. */
export async function readApiUrl() {
  try {
    const response = await fetch("config.json", { cache: "no-store" });
    const { api_url: apiUrl } = await response.json();
    return new URL(apiUrl).href.replace(/\/+$/, "");
  } catch {
    throw new Error(
      "This page does not know its API: config.json cannot be read or has no api_url. " +
        "On your own machine, run “make run” and open the address it prints; elsewhere, put a config.json beside the page.",
    );
  }
}
