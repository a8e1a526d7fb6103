import { setText } from "./elements.js";

/** Copy the text that `select` selects, and announce it. The button is labeled “Copy: NAME”. */
export async function copy(text, select, button, spoken) {
  select();
  let result = "Copied";
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Without HTTPS or permission, only the deprecated command works.
    if (!document.execCommand("copy")) result = "Selected";
  }
  setText(button, result);
  setText(spoken, button.ariaLabel.replace("Copy", result));
  setTimeout(setText, 2_000, button, "Copy");
}
