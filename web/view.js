const element = (id) => document.getElementById(id);
const number = new Intl.NumberFormat("en");
const today = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });
const another = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });

/** Calls back at each click on the button. */
export function onIncrement(callback) {
  element("increment").addEventListener("click", callback);
}

/** The page links to the API. */
export function showApi(url) {
  element("api").href = `${url}/`;
  element("api").hidden = false;
}

/** The page shows this counter; null where there is none to show. */
export function showCounter(counter) {
  const state = counter?.state;
  const text = state ? number.format(state.value) : "–";
  put("name", counter?.id ?? "Counter");
  put("value", text);
  element("value").value = state?.value ?? "";
  element("value").style.setProperty("--glyphs", text.length);
  put("pending", counter?.pending ? `+${number.format(counter.pending)} pending` : "");
  element("pending").hidden = !counter?.pending;
  put("facts", facts(state));
  element("increment").disabled = !counter;
  if (state && !counter.pending) put("spoken", `${counter.id}: ${text}`);
  document.title = counter ? `${counter.id} – Counter` : "Counter";
}

/** The page says that the API is out of reach, and how many increments wait for it; or it ceases to. */
export function showConnection(isReachable, waiting) {
  const wait = waiting === 1 ? "1 increment waits" : `${number.format(waiting)} increments wait`;
  put("connection", isReachable ? "" : `Cannot reach the API. ${waiting ? `${wait} and will be sent.` : "Trying again."}`);
}

/** The page says what went wrong; an empty text clears it. */
export function showProblem(text) {
  put("problem", text);
}

function facts(state) {
  if (!state) return "";
  if (!state.updated_at) return "never incremented";
  const updated = new Date(state.updated_at);
  const format = updated.toDateString() === new Date().toDateString() ? today : another;
  return `version ${number.format(state.version)}, updated ${format.format(updated)}`;
}

/** Text that stays the same is not set again: screen readers would read it again. */
function put(id, text) {
  if (element(id).textContent !== text) element(id).textContent = text;
}
