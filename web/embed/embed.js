/** The embeddable client: a library and, in browsers, two elements. */
export { counter } from "./library.js";
import "./elements.js";
