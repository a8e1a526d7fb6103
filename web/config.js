/** Read the API's address, or throw an Error that tells the user what to do. */
export async function readApiUrl() {
  try {
    const { api_url: apiUrl } = await (await fetch("config.json", { cache: "no-store" })).json();
    return new URL(apiUrl).href.replace(/\/+$/, "");
  } catch {
    throw new Error("config.json has no API address. On your own machine, open the page that “make run” prints.");
  }
}
