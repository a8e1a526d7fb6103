/** Read the API's address and its maximum amount from the page, or throw an Error that tells the user what to do. */
export function readConfig() {
  try {
    const { api_url: apiUrl, max_increment: maxIncrement } = JSON.parse(document.getElementById("config").textContent);
    return { apiUrl: new URL(apiUrl).href.replace(/\/+$/, ""), maxIncrement };
  } catch {
    throw new Error("This page doesn’t know the API’s address. On your own machine, open the page that “make run” prints; elsewhere, publish it with “python -m ops site”.");
  }
}
