// Any two attempts in one frame, with a slider between them.

import { h, keyed, say, set } from "./dom.js";
import { leader, pictured } from "./attempts.js";
import { label, percent, pictureUrl, shorten } from "./wording.js";

const SIDE = 1024;
let made = 0;

/** `{element, update(view)}`. Until a person picks, the first round's leader is compared with the best. */
export function makeCompare() {
  made += 1;
  const sides = { left: makeSide("left", "Left picture"), right: makeSide("right", "Right picture") };
  const slider = h("input", {
    type: "range", class: "gx-wipe", id: `gx-wipe-${made}`, min: "0", max: "100", step: "1", value: "50",
  });
  const handle = h("span", { class: "gx-wipe-handle" },
    h("svg", { viewBox: "0 0 24 24", "aria-hidden": "true" }, h("path", { d: "M9 6l-6 6 6 6M15 6l6 6-6 6" })));
  const frame = h("div", { class: "gx-frame" }, sides.right.image, sides.left.image, h("span", { class: "gx-wipe-line" }, handle));
  const stage = h("div", { class: "gx-stage" }, frame, sides.left.tag, sides.right.tag, slider);
  const swap = h("button", { type: "button", class: "button gx-swap", onclick: () => pick(sides.right.id, sides.left.id) },
    h("span", { "aria-hidden": "true" }, "⇄"), h("span", { class: "unseen" }, "Swap the pictures"));
  const pickers = h("div", { class: "gx-pickers" }, sides.left.picker, swap, sides.right.picker);
  const facts = h("div", { class: "gx-facts" }, sides.left.facts, sides.right.facts);
  const empty = h("p", { class: "gx-quiet" });
  const element = h("div", { class: "gx-compare" }, empty, pickers, stage, facts);
  let view;
  let picked = null;

  slider.addEventListener("input", wipe);
  for (const side of Object.values(sides)) {
    side.select.addEventListener("change", () => pick(sides.left.select.value, sides.right.select.value));
    side.image.addEventListener("load", fit);
  }

  function pick(left, right) {
    picked = [left, right];
    draw();
  }

  function update(next) {
    view = next;
    draw();
  }

  function draw() {
    const pictures = pictured(view);
    const enough = pictures.length > 1;
    say(empty, pictures.length ? "There is one picture yet; two can be compared." : "There are no pictures yet.");
    set(empty, { hidden: enough });
    for (const part of [pickers, stage, facts]) set(part, { hidden: !enough });
    if (!enough) return;
    const [left, right] = pairOf(pictures, picked, view.state?.best);
    const best = view.state?.best;
    sides.left.update(pictures, left, best);
    sides.right.update(pictures, right, best);
    fit();
    wipe();
  }

  /** The frame is as wide as the wider picture wants, so that pictures of different shapes both fit. */
  function fit() {
    const shapes = Object.values(sides).map((it) => it.image).filter((it) => it.naturalWidth);
    const wanted = view?.state?.options;
    const shape = shapes.length
      ? Math.max(...shapes.map((it) => it.naturalWidth / it.naturalHeight))
      : wanted?.width && wanted?.height ? wanted.width / wanted.height : 1;
    stage.style.setProperty("--gx-shape", shape.toFixed(4));
  }

  function wipe() {
    const at = Number(slider.value);
    const [left, right] = [label(sides.left.id), label(sides.right.id)];
    stage.style.setProperty("--gx-at", at / 100);
    sides.left.tag.classList.toggle("gx-faint", at < 8);
    sides.right.tag.classList.toggle("gx-faint", at > 92);
    set(slider, { "aria-label": `Slide between ${left} and ${right}`, "aria-valuetext": `${at}% ${left}, ${100 - at}% ${right}` });
  }

  return { element, update };
}

/** What was picked and is still there; else the first leader (or a sibling) beside the best. */
export function pairOf(pictures, picked, best) {
  const has = (id) => pictures.some((it) => it.id === id);
  if (picked && picked.every(has)) return picked;
  const right = has(best) ? best : (leader(pictures) || pictures.at(-1)).id;
  const others = pictures.filter((it) => it.id !== right);
  const first = Math.min(...others.map((it) => it.round));
  return [leader(others.filter((it) => it.round === first)).id, right];
}

function makeSide(name, title) {
  const id = `gx-pick-${name}-${made}`;
  const select = h("select", { id });
  const kept = new Map();
  const side = {
    id: "",
    select,
    picker: h("div", { class: "gx-picker" }, h("label", { for: id }, title), select),
    image: h("img", { class: `gx-half gx-half-${name}`, decoding: "async", draggable: "false" }),
    tag: h("span", { class: `gx-tag gx-tag-${name}`, "aria-hidden": "true" }),
    facts: h("p", { class: `gx-fact gx-fact-${name}` }),
    update(pictures, chosen, best) {
      const attempt = pictures.find((it) => it.id === chosen);
      side.id = chosen;
      const options = pictures.map((it) => ({ value: it.id, words: optionWords(it, best) }));
      keyed(select, kept, options, (it) => it.value, ({ value }) => {
        const element = h("option", { value });
        return { element, update: ({ words }) => say(element, words) };
      });
      set(select, { value: chosen });
      set(side.image, {
        src: pictureUrl(attempt.artifact, SIDE),
        alt: `Picture ${label(chosen)}: ${shorten(attempt.prompt || "", 200)}`,
      });
      say(side.tag, label(chosen));
      say(side.facts, factWords(attempt, best));
    },
  };
  return side;
}

function optionWords(attempt, best) {
  const score = typeof attempt.score === "number" ? `, ${percent(attempt.score)}` : "";
  return `${label(attempt.id)}${score}${attempt.id === best ? ", best" : ""}`;
}

function factWords(attempt, best) {
  const score = typeof attempt.score === "number" ? `${percent(attempt.score)} met` : "not judged yet";
  const facts = [`${label(attempt.id)}: round ${attempt.round}`, score];
  if (attempt.seed !== undefined) facts.push(`seed ${attempt.seed}`);
  return (attempt.id === best ? [...facts, "the best"] : facts).join(", ");
}
