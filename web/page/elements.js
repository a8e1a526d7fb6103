const lastShown = {};

/** Make an element with these properties and children. */
export function make(name, properties = {}, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
}

/** Check whether this content is new in this place. */
export function hasChanged(place, content) {
  return lastShown[place] !== (lastShown[place] = JSON.stringify(content));
}
