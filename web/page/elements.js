/** Make an element with these properties and children. */
export function make(name, properties = {}, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
}

/** Set text only if it differs. Otherwise, screen readers would repeat it. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
