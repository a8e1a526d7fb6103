const TIMEOUT_MS = 10_000;

/** Read the API's address and its maximum amount, or throw an Error that tells the user what to do. */
export async function readConfig() {
  try {
    const response = await fetch("config.json", { cache: "no-store", signal: AbortSignal.timeout(TIMEOUT_MS) });
    const { api_url: apiUrl, max_increment: maxIncrement } = await response.json();
    return { apiUrl: new URL(apiUrl).href.replace(/\/+$/, ""), maxIncrement };
  } catch {
    throw new Error("Can’t read the API’s address from config.json. Reload the page. On your own machine, open the page that “make run” prints.");
  }
}
