import { counter } from "./library.js";
import css from "./style.css";

const { customElements } = globalThis;
const PLUS = { signDisplay: "always" };

defineElement("counter-button", true);
defineElement("counter-value");

/**
 * Define an element that shows a counter, as a button or as text.
 *
 * Its own content, such as a badge, is shown only without JavaScript. Its attributes may change, and it may be removed
 * and inserted again. It has no public properties: frameworks would set these in place of attributes.
 */
function defineElement(name, isButton) {
  // Node has no elements, and two copies of this module may run on one page.
  if (!customElements || customElements.get(name)) return;
  customElements.define(
    name,
    class extends HTMLElement {
      #update = makeView(this, isButton);

      connectedCallback() {
        this.#update();
      }

      disconnectedCallback() {
        this.#update();
      }
    },
  );
}

/** Make the element's view. Return the function to call after the element is inserted or removed. */
function makeView(host, isButton) {
  const [box, label, value, mark, note] = ["box", "label", "value", "mark", "note"].map((part, index) =>
    Object.assign(document.createElement(isButton && !index ? "button" : "span"), { part }),
  );
  const read = (name) => host.getAttribute(name);
  const readBy = () => Number(read("by") ?? 1);
  let shown = null;
  let visited = null;
  let unsubscribe = null;
  let state = {};
  let problem = "";
  let spoken = "";
  let reported = "";

  function update() {
    let next = null;
    try {
      if (host.isConnected) next = counter(read("api"), read("counter"));
    } catch ({ message }) {
      problem = message;
    }
    if (next !== shown) {
      // A change of other attributes, such as the class, keeps the reason of a refusal.
      if (next) problem = "";
      unsubscribe?.();
      state = {};
      shown = next;
      unsubscribe = next?.subscribe((changed) => {
        state = changed;
        show();
      });
    }
    // Count one visit per element and counter, but none while the page is only prerendered.
    if (next && next !== visited && !isButton && read("count") !== null) {
      if (document.prerendering) {
        document.addEventListener("prerenderingchange", update);
      } else {
        visited = next;
        increment();
      }
    }
    show();
  }

  async function increment() {
    const target = shown;
    // Without valid attributes, there is no counter.
    if (!target) return;
    problem = "";
    await target.increment(readBy(), { once: readOnce() }).catch(({ message }) => {
      // The element may show another counter by now.
      if (target === shown) problem = message;
    });
    show();
  }

  /** Return "day" or "visitor", or null if every view or click counts. */
  function readOnce() {
    const word = read(isButton ? "once" : "count");
    return word === "view" ? null : word === "" ? "visitor" : word;
  }

  function format(number, options) {
    try {
      return number.toLocaleString(read("locale") || document.documentElement.lang || [], options);
    } catch {
      return `${number}`;
    }
  }

  function show() {
    const { value: number, version, at, isFresh, pending, isWaiting, isSaved, error } = state;
    const once = isButton && readOnce();
    const text = number == null ? "–" : format(number);
    const named = `${read("counter")}: ${text}`;
    const age = at && !isFresh ? `As of ${format(new Date(at))}` : "";
    const unsent = isWaiting ? `Not sent yet. ${isSaved ? "The click is saved." : "Keep this page open."}` : "";
    // An error with a status is a refusal. Other errors are temporary.
    const refusal = problem || (error?.status ? error.message : "");
    const isDone = once && shown?.isCounted(once);
    const [kind, sign, title] = refusal
      ? ["refused", "!", refusal]
      : pending
        ? ["pending", format(pending, PLUS), unsent || age]
        : isDone
          ? ["done", "✓", age || "Counted"]
          : ["", "", age];
    // Announce the value once the visitor’s own clicks are counted, not other clients’ changes.
    spoken = pending ? null : (spoken ?? named);
    box.title = title;
    box.part = `box ${kind}`;
    setText(label, read("label") ?? (isButton ? format(readBy(), PLUS) : ""));
    setText(value, text);
    setText(mark, sign);
    setText(note, isButton ? refusal || unsent || spoken || "" : title);
    if (isButton) {
      box.ariaLabel = `${label.textContent} ${named}`;
      box.ariaDisabled = isDone || !shown;
    }
    // Tell the page about each change, but not about polls that found no change.
    const detail = { counter: read("counter"), value: number, version, isFresh, pending, refusal };
    if (reported === (reported = JSON.stringify(detail))) return;
    const event = new CustomEvent("counter-change", { detail, bubbles: true, composed: true });
    // Dispatch the event after the update, because a listener may remove the element.
    queueMicrotask(() => host.dispatchEvent(event));
  }

  const sheet = new CSSStyleSheet();
  const root = host.attachShadow({ mode: "open", delegatesFocus: true });
  sheet.replaceSync(css);
  root.adoptedStyleSheets = [sheet];
  box.append(label, value, mark);
  root.append(box, note);
  if (isButton) {
    note.role = "status";
    box.onclick = increment;
    // Holding Enter down is one increment: false prevents further ones.
    box.onkeydown = ({ key, repeat }) => !repeat || key !== "Enter";
  }
  new MutationObserver(update).observe(host, { attributes: true });
  return update;
}

/** Set text only if it differs. Otherwise, screen readers would repeat it. */
function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
