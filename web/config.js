/** The API's address, from config.json; or an Error that says what to do. */
export async function readApiUrl() {
  try {
    const { api_url: apiUrl } = await (await fetch("config.json", { cache: "no-store" })).json();
    return new URL(apiUrl).href.replace(/\/+$/, "");
  } catch {
    throw new Error("config.json does not say where the API is. On your own machine, open what “make run” prints.");
  }
}
