import { isCounterId, readCounterId } from "../client/counter.js";
import { copy } from "../page/clipboard.js";
import { readConfig } from "../page/config.js";
import { buildSnippets, describeElement, LABELS } from "./snippets.js";

const PREVIEW_DELAY_MS = 500;
const page = Object.fromEntries([...document.querySelectorAll("[id]")].map((element) => [element.id, element]));
const fields = page.maker.elements;
const pageUrl = location.href.replace(/[?#].*/, "");
let previewTimer = null;

async function start({ apiUrl, maxIncrement }) {
  fields.by.max = maxIncrement || fields.by.max;
  for (const element of document.querySelectorAll("article :is(counter-button, counter-value)")) {
    element.setAttribute("api", apiUrl);
    addUseButton(element);
  }
  page.libraryCode.textContent = `import { counter } from "${new URL("embed-1.js", pageUrl)}";

const points = counter("${apiUrl}", "gallery-points");
button.onclick = () => points.increment();
points.subscribe(({ value, pending }) => {
  output.value = pending ? \`\${value} + \${pending}\` : value;
});`;
  document.querySelectorAll("pre").forEach(addCopyButton);

  page.api.href = `${apiUrl}/`;
  page.maker.oninput = ({ target }) => update(target === fields.counter ? PREVIEW_DELAY_MS : 0);
  page.maker.onsubmit = (event) => event.preventDefault();
  for (const choice of fields.form) choice.addEventListener("change", () => suggestLabel(choice.value));
  addEventListener("hashchange", openCounter);
  addEventListener("counter-change", ({ target, detail }) => showRefusal(target, detail));
  openCounter();

  /** Show the texts now, and the preview after a pause in typing. */
  function update(delayMs) {
    const isButton = fields.form.value === "button";
    fields.once.options[0].text = isButton ? "Every click" : "Every view";
    for (const name of ["once", "by"]) fields[name].disabled = fields.form.value === "value";
    clearTimeout(previewTimer);
    if (!page.maker.checkValidity()) {
      for (const name of ["html", "markdown", "javascript"]) page[name].textContent = "";
      page.preview.replaceChildren();
      const invalid = page.maker.querySelector("input:invalid");
      page.previewHint.textContent = `${invalid.labels[0].textContent}: ${invalid.validationMessage}`;
      return;
    }
    const choice = readChoice();
    const texts = buildSnippets(choice, { apiUrl, pageUrl });
    for (const [name, text] of Object.entries(texts)) page[name].textContent = text;
    previewTimer = setTimeout(showPreview, delayMs, choice);
  }

  function showPreview(choice) {
    const { name, attributes } = describeElement(choice, apiUrl);
    // Otherwise, each change of a field would count as a visit.
    delete attributes.count;
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    page.preview.replaceChildren(element);
    const { form, counter } = choice;
    page.previewHint.textContent =
      form === "button"
        ? `This preview is live: a click increments “${counter}”.`
        : form === "visits"
          ? `This preview is live, but doesn’t count this visit in “${counter}”.`
          : `This preview is live: it shows the value of “${counter}”.`;
  }

  /** Give a demonstration a button that chooses its form, for the counter that the user entered. */
  function addUseButton(element) {
    const article = element.closest("article");
    const read = (name) => element.getAttribute(name) ?? "";
    const button = makeButton("Use this", `Use this: ${article.querySelector("h3").textContent}`, () => {
      fields.form.value = element.matches("counter-button") ? "button" : read("count") ? "visits" : "value";
      fields.once.value = read("once") || read("count");
      fields.by.value = read("by") || 1;
      for (const name of ["label", "locale"]) fields[name].value = read(name);
      update(0);
      fields.counter.focus();
    });
    article.append(button);
  }

  function suggestLabel(form) {
    if (Object.values(LABELS).includes(fields.label.value)) fields.label.value = LABELS[form];
    update(0);
  }

  /** Start with the counter that the address names. */
  function openCounter() {
    const id = readCounterId(location.hash);
    if (isCounterId(id)) fields.counter.value = id;
    update(0);
  }

  const { counter } = await import(new URL("embed-1.js", pageUrl));
  showLibrary(counter(apiUrl, "gallery-points"));
  await showBadge(apiUrl);
}

function readChoice() {
  const { form, counter, label, once, by, locale, fallback } = fields;
  return {
    form: form.value,
    counter: counter.value,
    label: label.value.trim(),
    once: once.value,
    by: by.valueAsNumber,
    locale: locale.value,
    fallback: fallback.checked,
  };
}

function showLibrary(points) {
  const { libraryButton: button, libraryOutput: output } = page;
  button.disabled = false;
  button.onclick = () => points.increment().catch(({ message }) => showProblem("gallery-points", message));
  points.subscribe(({ value, pending }) => {
    output.value = pending ? `${value ?? "–"} + ${pending}` : value ?? "–";
  });
}

/** Show the badge as a data URL: the page's policy allows no other pictures. */
async function showBadge(apiUrl) {
  try {
    const response = await fetch(`${apiUrl}/counters/gallery-likes/badge.svg`);
    if (!response.ok) throw new Error((await response.json()).detail);
    page.badge.src = `data:image/svg+xml,${encodeURIComponent(await response.text())}`;
    Object.assign(page.badge, { alt: "Badge of gallery-likes", hidden: false });
    page.badgeStatus.textContent = "";
  } catch {
    page.badgeStatus.textContent = "Can’t load the badge.";
  }
}

/** Explain why a counter does not count here. */
function showRefusal(element, { counter, refusal }) {
  if (refusal && element.getAttribute("api")) showProblem(counter, refusal);
}

function showProblem(counter, reason) {
  page.problem.textContent = `The API refused “${counter}”: ${reason}`;
}

/** Give a text a button that copies it. */
function addCopyButton(pre) {
  const code = pre.querySelector("code");
  const select = () => getSelection().selectAllChildren(code);
  const button = makeButton("Copy", `Copy: ${pre.ariaLabel}`, () => copy(code.textContent, select, button, page.spoken));
  const box = Object.assign(document.createElement("div"), { className: "code" });
  pre.replaceWith(box);
  box.append(pre, button);
}

function makeButton(text, ariaLabel, onclick) {
  return Object.assign(document.createElement("button"), { type: "button", textContent: text, ariaLabel, onclick });
}

try {
  await start(readConfig());
} catch (error) {
  page.problem.textContent = error.message;
}
