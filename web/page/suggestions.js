import { request } from "../client/api.js";
import { listAddresses } from "../client/last-states.js";
import { make } from "./elements.js";
import { page } from "./view.js";

/** Suggest counters to open: those shown last, and up to 100 that the API lists. */
export function bindSuggestions(api) {
  const { go, other, choices } = page;
  const root = api.buildUrl("", "");
  let listed = [];

  async function list() {
    const { counters } = await request(`${api.root}/counters?limit=100`);
    listed = counters.map((counter) => counter.counter_id);
  }

  function show() {
    const recent = listAddresses().filter((address) => address.startsWith(root));
    const ids = new Set([...recent.map((address) => address.slice(root.length)), ...listed]);
    choices.replaceChildren(...[...ids].map((value) => make("option", { value })));
  }

  other.onfocus = async () => {
    show();
    if (!listed.length) await list().then(show, () => {});
  };
  // A chosen suggestion is opened at once. Chromium reports it without an input type, other browsers with this one.
  other.oninput = ({ inputType = "insertReplacementText" }) => {
    const isListed = [...choices.options].some(({ value }) => value === other.value);
    if (inputType === "insertReplacementText" && isListed) go.requestSubmit();
  };
  if (document.activeElement === other) other.onfocus();
}
