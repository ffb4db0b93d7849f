// Long texts show their first lines, and a button for the rest.

import { h, say, set } from "./dom.js";

/** `{button, close()}` for a text and a list of texts: the style sheet folds them, the button is there while that hides any. */
export function makeFold(text, list) {
  let open = false;
  const button = h("button", {
    type: "button", class: "quiet", hidden: true, "aria-expanded": "false",
    onclick: () => {
      open = !open;
      for (const it of [text, list]) it.classList.toggle("folded", !open);
      say(button, open ? "Show less" : "Show all");
      set(button, { "aria-expanded": String(open) });
    },
  }, "Show all");
  const observer = new ResizeObserver(() => {
    if (!open) button.hidden = ![text, ...list.children].some((it) => it.scrollHeight > it.clientHeight + 3);
  });
  for (const it of [text, list]) {
    it.classList.add("folded");
    observer.observe(it);
  }
  return { button, close: () => observer.disconnect() };
}
