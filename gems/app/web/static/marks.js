// The mark of a verdict: a shape and a colour for the eye, and words for those who do not see it.

import { h, replace, set } from "./dom.js";
import { VERDICTS } from "./wording.js";

const SHAPES = {
  met: "M4.5 10.5l3.5 3.5 7.5-8",
  unmet: "M5.5 5.5l9 9M14.5 5.5l-9 9",
  unknown: "M7 7.6c.2-1.8 1.4-2.8 3.1-2.8s3 1 3 2.6c0 2.1-3 2.3-3 4.6M10 15.2v.3",
  skipped: "M5.5 10h9",
};

/** `{element, update(verdict, ruled)}`; the verdict `none` is one that is not there yet. */
export function makeMark() {
  const element = h("span", { class: "gx-mark", role: "img" });
  let drawn;

  function update(verdict, ruled = false) {
    set(element, { "aria-label": `${VERDICTS[verdict]}${ruled ? ", ruled by you" : ""}` });
    element.classList.toggle("gx-ruled", ruled);
    if (verdict === drawn) return;
    element.dataset.verdict = verdict;
    const shape = SHAPES[verdict];
    replace(element, shape ? h("svg", { viewBox: "0 0 20 20", "aria-hidden": "true" }, h("path", { d: shape })) : null);
    if (drawn !== undefined) pop(element);
    drawn = verdict;
  }

  return { element, update };
}

function pop(element) {
  element.classList.add("gx-pop");
  element.addEventListener("animationend", () => element.classList.remove("gx-pop"), { once: true });
}
