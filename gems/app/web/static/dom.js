// Makes DOM. Text from people and models only ever becomes text nodes: nothing here can set HTML.

const SVG = "http://www.w3.org/2000/svg";
const SVG_TAGS = new Set(["svg", "g", "path", "circle", "line", "polyline", "rect", "text", "title", "desc"]);

function append(parent, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false || child === true) continue;
    parent.append(child instanceof Node ? child : String(child));
  }
}

/**
 * Sets properties of an element; a value that already stands is left alone, so that nothing flickers.
 * `on…` are listeners (set once, when the element is made), `class`, `dataset` and `style` (an object of
 * properties, allowed by the policy because it goes through the CSSOM) are what they say, true and false make a
 * boolean attribute come and go, null takes an attribute away.
 */
export function set(element, props) {
  for (const [name, value] of Object.entries(props)) {
    if (name.startsWith("on") && typeof value === "function") element.addEventListener(name.slice(2).toLowerCase(), value);
    else if (name === "dataset") for (const [key, text] of Object.entries(value)) element.dataset[key] = text;
    else if (name === "style") for (const [key, text] of Object.entries(value)) element.style.setProperty(key, text);
    else if (name === "value" && element.localName === "option") element.setAttribute("value", value); // "" is a value too
    else if (name === "value" || name === "checked" || name === "disabled" || name === "open" || name === "hidden") {
      if (element[name] !== value) element[name] = value;
    } else if (value === null || value === undefined || value === false) element.removeAttribute(name);
    else {
      const text = value === true ? "" : String(value);
      if (element.getAttribute(name) !== text) element.setAttribute(name, text);
    }
  }
  return element;
}

/** Makes an element: `h("button", {class: "quiet", onclick: stop}, "Stop")`. SVG tags are made as SVG. */
export function h(tag, props, ...children) {
  const inSvg = SVG_TAGS.has(tag) && !(props && props.xmlns === "html");
  const element = inSvg ? document.createElementNS(SVG, tag) : document.createElement(tag);
  if (props) set(element, props);
  append(element, children);
  return element;
}

/** Puts these children in the place of those that are there. */
export function replace(parent, ...children) {
  const made = document.createDocumentFragment();
  append(made, children);
  parent.replaceChildren(made);
  return parent;
}

/** Sets an element's text, unless it says that already. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
  return element;
}

const MOST_TRIES = 8;

/** Lets a picture that could not be loaded, because the server was away, try again: after 1 second, 2, 4, at most 15. */
export function mending(image) {
  let tries = 0;
  image.addEventListener("load", () => {
    tries = 0;
    image.classList.remove("broken");
  });
  image.addEventListener("error", () => {
    const source = image.getAttribute("src");
    image.classList.add("broken");
    if (tries === MOST_TRIES) return;
    setTimeout(() => image.getAttribute("src") === source && image.setAttribute("src", source), Math.min(1000 * 2 ** tries, 15_000));
    tries += 1;
  });
  return image;
}

/**
 * Keeps a list of elements in step with a list of items, each by its key: an element that is there already is
 * updated in its place (with focus, hover and scroll), and moved only where the order changed.
 * `make(item)` answers `{element, update(item)}`; `kept` is a Map that the caller holds between calls.
 */
export function keyed(parent, kept, items, key, make) {
  const wanted = new Set();
  let place = parent.firstChild;
  for (const item of items) {
    const name = key(item);
    wanted.add(name);
    let part = kept.get(name);
    if (!part) {
      part = make(item);
      kept.set(name, part);
    }
    if (part.update) part.update(item);
    if (part.element === place) place = place.nextSibling;
    else parent.insertBefore(part.element, place);
  }
  for (const [name, part] of kept) {
    if (wanted.has(name)) continue;
    part.element.remove();
    kept.delete(name);
  }
}
