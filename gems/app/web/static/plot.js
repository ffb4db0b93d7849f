// Score by round: every attempt a dot that can be chosen, and the best so far as a stepped line.

import { h, keyed, replace, say, set } from "./dom.js";
import { attemptsOf, isJudged, leader, shownAttempt } from "./attempts.js";
import { label, percent, plural } from "./wording.js";

const HEIGHT = 220;
const EDGE = { left: 44, right: 14, top: 26, bottom: 34 };
const NARROWEST = 240;
const WIDE = 640;
/** Pixels that the numbers of two rounds need between them. */
const NUMBER_ROOM = 26;
/** Pixels between the dots of equal rounds, where there is room. */
const APART = 22;
/** Pixels that a dot's label needs on each side. */
const LABEL_ROOM = 34;

/** `{element, update(view)}`. `choose(id)` is called when a dot is chosen; `view.chosen` says which one is. */
export function makePlot({ choose }) {
  const kept = new Map();
  const grid = h("g", { class: "gx-plot-grid", "aria-hidden": "true" });
  const area = h("path", { class: "gx-plot-area", "aria-hidden": "true" });
  const line = h("path", { class: "gx-plot-line", "aria-hidden": "true" });
  const dots = h("g", null);
  const svg = h("svg", { class: "gx-plot-svg", role: "group", "aria-label": "Score by round" }, grid, area, line, dots);
  const words = h("p", { class: "gx-plot-words" });
  const key = h(
    "p",
    { class: "gx-plot-key", "aria-hidden": "true" },
    h("span", { dataset: { of: "best" } }, "best so far"),
    h("span", { dataset: { of: "other" } }, "other pictures"),
    h("span", { dataset: { of: "chosen" } }, "shown"),
  );
  const element = h("figure", { class: "gx-plot" }, svg, h("figcaption", null, key, words));
  let view;

  function update(next) {
    view = next;
    draw();
  }

  function draw() {
    if (!view) return;
    const judged = attemptsOf(view.state).filter(isJudged);
    svg.classList.toggle("gx-gone", !judged.length);
    set(key, { hidden: !judged.length });
    say(words, summarized(attemptsOf(view.state), judged, view.state?.best));
    const width = Math.max(NARROWEST, Math.round(element.clientWidth) || WIDE);
    const plan = layout(judged, width, view);
    set(svg, { viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT });
    set(line, { d: plan.line });
    set(area, { d: plan.area });
    drawGrid(grid, plan, width);
    keyed(dots, kept, plan.dots, (dot) => dot.id, (dot) => makeDot(dot, { choose, step }));
  }

  /** Moves the focus to the dot so many places on; the whole plot is one stop of the tab key. */
  function step(from, by) {
    const all = [...dots.children];
    const at = all.findIndex((it) => it.dataset.attempt === from);
    const next = all[Math.max(0, Math.min(all.length - 1, at + by))];
    for (const it of all) set(it, { tabindex: it === next ? "0" : "-1" });
    next.focus();
  }

  new ResizeObserver(draw).observe(element);
  return { element, update };
}

function summarized(attempts, judged, chosen) {
  if (!judged.length) return "No picture has been judged yet.";
  const top = leader(judged);
  const best = judged.find((it) => it.id === chosen && it.score === top.score) || top;
  const rounds = [...new Set(judged.map((it) => it.round))].sort((a, b) => a - b);
  const tops = rounds.map((round) => `round ${round} ${percent(leader(judged.filter((it) => it.round === round)).score)}`);
  const told = tops.length > 6 ? [...tops.slice(0, 2), "…", ...tops.slice(-3)] : tops;
  const failed = attempts.filter((it) => it.error && !it.artifact).length;
  const lost = failed ? ` ${plural(failed, "drawing")} failed.` : "";
  const count = `${plural(judged.length, "picture")} in ${plural(rounds.length, "round")}`;
  return `${count}; at best ${percent(best.score)} met, by ${label(best.id)}. Top scores: ${told.join(", ")}.${lost}`;
}

/** Where everything stands, in pixels. Each round has a column of its own, and its attempts stand side by side. */
export function layout(judged, width, view = {}) {
  const rounds = [...new Set(judged.map((it) => it.round))].sort((a, b) => a - b);
  const column = (width - EDGE.left - EDGE.right) / Math.max(1, rounds.length);
  const xOf = (round) => EDGE.left + (rounds.indexOf(round) + 0.5) * column;
  const yOf = (score) => HEIGHT - EDGE.bottom - score * (HEIGHT - EDGE.top - EDGE.bottom);
  const tenth = (number) => Math.round(number * 10) / 10;
  const chosen = shownAttempt({ state: { ...view.state, attempts: judged }, chosen: view.chosen })?.id;
  let soFar = -1;
  const most = Math.max(...rounds.map((round) => judged.filter((it) => it.round === round).length));
  const radius = Math.max(4, Math.min(6, column / most / 2.2));
  const dots = [];
  const corners = [];
  for (const round of rounds) {
    const here = judged.filter((it) => it.round === round);
    const top = Math.max(...here.map((it) => it.score));
    const leads = top > soFar ? here.find((it) => it.score === top) : null;
    soFar = Math.max(soFar, top);
    corners.push([tenth(xOf(round)), tenth(yOf(soFar))]);
    const gap = Math.min(APART, column / here.length);
    here.forEach((it, place) => {
      const x = xOf(round) + (place - (here.length - 1) / 2) * gap;
      const best = it.id === view.state?.best;
      const anchor = x < EDGE.left + LABEL_ROOM ? "start" : x > width - LABEL_ROOM ? "end" : "middle";
      const leading = it === leads || best;
      dots.push({ ...it, x: tenth(x), y: tenth(yOf(it.score)), radius, anchor, leads: leading, best, chosen: it.id === chosen });
    });
  }
  const every = Math.ceil(NUMBER_ROOM / column);
  const numbers = rounds.filter((_, place) => place % every === 0).map((round) => ({ round, x: tenth(xOf(round)) }));
  const ticks = [0, 0.5, 1].map((score) => ({ score, y: tenth(yOf(score)) }));
  const floor = tenth(yOf(0));
  const [left, right] = [EDGE.left, width - EDGE.right];
  const steps = corners.map(([x, y], place) => (place ? `H${tenth(x - column / 2)} V${y}` : `M${left} ${y}`));
  const line = corners.length ? `${steps.join(" ")} H${right}` : "";
  return { dots, numbers, ticks, line, area: line && `${line} V${floor} H${left} Z` };
}

function drawGrid(grid, plan, width) {
  const drawn = JSON.stringify([plan.ticks, plan.numbers, width]);
  if (grid.dataset.drawn === drawn) return;
  grid.dataset.drawn = drawn;
  replace(
    grid,
    plan.ticks.map(({ y }) => h("line", { x1: EDGE.left, x2: width - EDGE.right, y1: y, y2: y })),
    plan.ticks.map(({ score, y }) => h("text", { x: EDGE.left - 8, y: y + 4, "text-anchor": "end" }, percent(score))),
    plan.numbers.map(({ round, x }) => h("text", { x, y: HEIGHT - 16, "text-anchor": "middle" }, String(round))),
    h("text", { x: width - EDGE.right, y: HEIGHT - 2, "text-anchor": "end", class: "gx-plot-axis" }, "round"),
    h("text", { x: 2, y: 11, class: "gx-plot-axis" }, "requirements met"),
  );
}

function makeDot({ id }, { choose, step }) {
  const words = h("text", { y: -14, "aria-hidden": "true" });
  const ring = h("circle", { class: "gx-dot-ring" });
  const point = h("circle", { class: "gx-dot-point" });
  const element = h(
    "g",
    { class: "gx-dot", role: "button", dataset: { attempt: id } },
    h("circle", { class: "gx-dot-reach", r: 13 }),
    ring,
    point,
    words,
  );
  const moves = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, Home: -Infinity, End: Infinity };
  element.addEventListener("click", () => choose(id));
  element.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === " ") choose(id);
    else if (event.key in moves) step(id, moves[event.key]);
    else return;
    event.preventDefault();
  });

  function update(dot) {
    const focused = element.parentNode?.contains(document.activeElement);
    const said = `${label(id)}, round ${dot.round}: ${percent(dot.score)} met, seed ${dot.seed}${dot.best ? ", the best" : ""}`;
    set(element, { transform: `translate(${dot.x} ${dot.y})`, "aria-label": said, "aria-pressed": dot.chosen ? "true" : "false" });
    // While a dot has the focus, the arrow keys say where the tab key stops.
    if (!focused || !element.hasAttribute("tabindex")) set(element, { tabindex: dot.chosen ? "0" : "-1" });
    element.classList.toggle("gx-dot-leads", dot.leads);
    say(words, `${label(id)} ${percent(dot.score)}`);
    set(words, { "text-anchor": dot.anchor, x: { start: -8, middle: 0, end: 8 }[dot.anchor] });
    set(point, { r: dot.radius });
    set(ring, { r: dot.radius + 4 });
  }

  return { element, update };
}
