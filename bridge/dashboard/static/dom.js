// Elements without markup: untrusted input only ever becomes text or an attribute.

/**
 * Makes an element. An attribute that is null, undefined or false is left out, `onclick` and the like are listeners;
 * children are elements or text, null is left out.
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  return fill(set(element, attributes), ...children);
}

/** The same for SVG. */
export function svg(tag, attributes = {}, ...children) {
  return fill(set(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes), ...children);
}

/** An untrusted name: isolated, so that no direction mark in it changes the order of its neighbours. */
export function named(text) {
  return h("bdi", {}, text);
}

/** A link within the page, to a view by the parameters of its URL. */
export function link(parameters, ...children) {
  return h("a", { href: `?${new URLSearchParams(parameters)}` }, ...children);
}

/** Replaces an element's content; the focus stays on the link or button at the same place. */
export function refill(element, ...children) {
  const at = [...element.querySelectorAll("a, button")].indexOf(document.activeElement);
  element.replaceChildren();
  fill(element, ...children);
  if (at >= 0) element.querySelectorAll("a, button")[at]?.focus({ preventScroll: true });
  return element;
}

function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) {
      element.setAttribute(name, value === true ? "" : value);
    }
  }
  return element;
}

function fill(element, ...children) {
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}
