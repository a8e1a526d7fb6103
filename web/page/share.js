import { copy } from "./clipboard.js";
import { buildBadgePath } from "./details.js";
import { make } from "./elements.js";
import { page } from "./view.js";

const gallery = make("a", {}, "More forms");

/** Bind the controls that share the counter, and give each field a button that copies it. */
export function bindShare(onStyle) {
  const { share, link, style } = page;
  style.onchange = () => onStyle(style.value);
  for (const field of document.querySelectorAll("[readonly]")) {
    const button = make("button", { ariaLabel: `Copy: ${field.labels[0].textContent}` }, "Copy");
    button.onclick = () => copy(field.value, () => field.select(), button, page.spoken);
    field.after(button);
  }
  page.embed.closest(".copy").after(make("p", {}, gallery));
  share.hidden = !navigator.share;
  // The user may close the dialog.
  share.onclick = () => navigator.share({ title: document.title, url: link.value }).catch(() => {});
}

/** Show the addresses and lines that refer to this counter. */
export function showShare({ id, apiUrl, style }) {
  const link = new URL(`#/${id}`, location).href;
  const script = new URL("embed-1.js", location).href;
  const badge = `${apiUrl}/counters/${id}${buildBadgePath(style)}`;
  page.style.value = style;
  page.link.value = link;
  gallery.href = `gallery.html#/${id}`;
  page.embed.value = `<script type="module" src="${script}"></script><counter-button counter="${id}" api="${apiUrl}"></counter-button>`;
  page.markdown.value = `[![${id}](${badge})](${link})`;
  page.html.value = `<a href="${link}"><img src="${badge}" alt="${id}"></a>`;
}
