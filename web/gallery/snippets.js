/** The label that each form has at first. */
export const LABELS = { button: "Like", visits: "Visits", value: "Likes" };

const escapeHtml = (text) => text.replace(/&/g, "&amp;").replace(/"/g, "&quot;").replace(/</g, "&lt;");
const escapeMarkdown = (text) => text.replace(/[\\[\]]/g, "\\$&");

/**
 * Build the texts to copy for a counter: `html`, `markdown` and `javascript`.
 *
 * `form` is "button", "visits" or "value". `once` is "visitor", "day", or "" if each click or view counts. Empty texts
 * are left out.
 */
export function buildSnippets(choice, { apiUrl, pageUrl }) {
  const script = new URL("embed-1.js", pageUrl).href;
  const { name, attributes } = describeElement(choice, apiUrl);
  const written = Object.entries(attributes).map(([key, value]) => ` ${key}="${escapeHtml(value)}"`);
  const badge = buildBadgeUrl(choice, apiUrl);
  const image = `<img src="${escapeHtml(badge)}" alt="${choice.counter}">`;
  const link = new URL(`./#/${choice.counter}`, pageUrl).href;
  return {
    html: `<script type="module" src="${script}"></script>
<${name}${written.join("")}>${choice.fallback ? image : ""}</${name}>`,
    markdown: `[![${escapeMarkdown(choice.label || choice.counter)}](${badge})](${link})`,
    javascript: buildProgram(choice, script, apiUrl),
  };
}

/** Describe the element of a choice: its name and its attributes. */
export function describeElement({ form, counter, label, once, by, locale }, apiUrl) {
  const attributes = { api: apiUrl, counter, label };
  if (form === "visits") attributes.count = once || "view";
  if (form === "button") attributes.once = once;
  if (form !== "value" && by !== 1) attributes.by = `${by}`;
  attributes.locale = locale;
  const kept = Object.entries(attributes).filter(([, value]) => value);
  return { name: form === "button" ? "counter-button" : "counter-value", attributes: Object.fromEntries(kept) };
}

function buildBadgeUrl({ counter, label }, apiUrl) {
  const query = label ? `?label=${encodeURIComponent(label).replace(/[()']/g, (sign) => `%${sign.charCodeAt(0).toString(16)}`)}` : "";
  return `${apiUrl}/counters/${counter}/badge.svg${query}`;
}

function buildProgram({ form, counter, label, once, by, locale }, script, apiUrl) {
  const given = once ? [by, `{ once: "${once}" }`] : by === 1 ? [] : [by];
  const increment = `counted.increment(${given.join(", ")})`;
  const number = `value?.toLocaleString(${locale ? `"${locale}"` : ""}) ?? "–"`;
  const prefix = label ? JSON.stringify(`${label} `).replace(/</g, "\\x3c") : '""';
  const element = form === "button" ? "button" : "output";
  return `import { counter } from "${script}";

const counted = counter("${apiUrl}", "${counter}");
const ${element} = document.body.appendChild(document.createElement("${element}"));
${form === "button" ? `button.onclick = () => ${increment};\n` : form === "visits" ? `${increment};\n` : ""}counted.subscribe(({ value }) => {
  ${element}.textContent = ${prefix} + (${number});
});`;
}
