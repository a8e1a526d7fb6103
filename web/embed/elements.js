import { counter } from "./library.js";
import css from "./style.css";

const { customElements } = globalThis;

defineElement("counter-button", "button");
defineElement("counter-value", "span");

/**
 * Define an element that shows a counter in a button or a span.
 *
 * Its own content, such as a badge, is shown only without JavaScript. Its attributes may change, and it may be removed
 * and inserted again. It has no public properties: frameworks would set these in place of attributes.
 */
function defineElement(name, tag) {
  // Node has no elements, and two copies of this module may run on one page.
  if (!customElements || customElements.get(name)) return;
  class CounterElement extends HTMLElement {
    static observedAttributes = ["api", "counter", "by", "once", "count", "label", "locale"];
    #update = makeView(this, tag);

    connectedCallback() {
      this.#update();
    }
  }
  const { prototype } = CounterElement;
  prototype.disconnectedCallback = prototype.attributeChangedCallback = prototype.connectedCallback;
  customElements.define(name, CounterElement);
}

/** Make the element's view. Return the function to call after each change of the element. */
function makeView(host, tag) {
  const isButton = tag === "button";
  const [box, label, value, mark, note] = ["box", "label", "value", "mark", "note"].map((part) =>
    Object.assign(document.createElement(part === "box" ? tag : "span"), { part }),
  );
  const read = (name) => host.getAttribute(name);
  const readBy = () => Number(read("by") ?? 1);
  let shown = null;
  let visited = null;
  let unsubscribe = null;
  let state = {};
  let problem = "";
  let hadPending = false;
  let spoken = "";
  let scheduled = null;

  function update() {
    let next = null;
    scheduled = null;
    problem = "";
    try {
      if (host.isConnected) next = counter(read("api"), read("counter"));
    } catch ({ message }) {
      problem = message;
    }
    if (next !== shown) {
      unsubscribe?.();
      state = {};
      shown = next;
      unsubscribe = next?.subscribe((changed) => {
        state = changed;
        show();
      });
    }
    // Count the visit once for each element and counter.
    if (next && next !== visited && !isButton && read("count") !== null) {
      visited = next;
      increment();
    }
    show();
  }

  async function increment() {
    problem = "";
    await shown.increment(readBy(), { once: readOnce() }).catch(({ message }) => (problem = message));
    show();
  }

  /** Return "day", "visitor" or, for a view of the page and clicks without limit, null. */
  function readOnce() {
    const word = read(isButton ? "once" : "count");
    return word === "view" ? null : word === "" ? "visitor" : word;
  }

  function format(number, options) {
    try {
      return number.toLocaleString(read("locale") ?? (document.documentElement.lang || []), options);
    } catch {
      return `${number}`;
    }
  }

  function show() {
    const { value: number, at, isFresh, pending, isWaiting, isSaved, error } = state;
    const plus = { signDisplay: "always" };
    const once = isButton && readOnce();
    const isDone = once && shown?.isCounted(once);
    const text = number == null ? "–" : format(number);
    // An error with a status is a refusal. Others are temporary.
    const refusal = problem || (error?.status && error.message);
    const unsent = isWaiting && `Not sent yet. ${isSaved ? "The click is saved." : "Keep this page open."}`;
    const named = `${read("counter")}: ${text}`;
    // Announce the value once the visitor’s own clicks are counted, not other clients’ changes.
    if (hadPending && !pending) spoken = named;
    hadPending = pending;
    box.title = refusal || unsent || (at && !isFresh ? `As of ${format(new Date(at))}` : isDone && !pending ? "Counted" : "");
    box.part = `box ${refusal ? "refused" : pending ? "pending" : isDone ? "done" : ""}`;
    setText(label, read("label") ?? (isButton ? format(readBy(), plus) : ""));
    setText(value, text);
    setText(mark, refusal ? "!" : pending ? format(pending, plus) : isDone ? "✓" : "");
    setText(note, isButton ? refusal || unsent || spoken : box.title);
    if (!isButton) return;
    box.ariaLabel = `${label.textContent} ${named}`;
    box.ariaDisabled = isDone || !shown;
  }

  const sheet = new CSSStyleSheet();
  const root = host.attachShadow({ mode: "open", delegatesFocus: true });
  sheet.replaceSync(css);
  root.adoptedStyleSheets = [sheet];
  box.append(label, value, mark);
  root.append(box, note);
  if (isButton) {
    note.role = "status";
    box.onclick = () => box.ariaDisabled === "true" || increment();
    // Holding a key down is one increment: false prevents the click.
    box.onkeydown = (event) => !event.repeat;
  }
  return () => (scheduled ??= Promise.resolve().then(update));
}

/** Set text only if it differs: screen readers would repeat it. */
function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
