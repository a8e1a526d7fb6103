/** The API's address, from config.json beside the page; or an Error that says what to do. */
export async function readApiUrl() {
  try {
    const { api_url: apiUrl } = await (await fetch("config.json", { cache: "no-store" })).json();
    return new URL(apiUrl).href.replace(/\/+$/, "");
  } catch {
    const why = "This page does not know its API: config.json cannot be read or has no api_url.";
    throw new Error(`${why} On your own machine, open the address that “make run” prints.`);
  }
}
