// The rounds of a run, the newest first: each with its pictures as they come, their verdicts, and what was learned.

import { isJudged } from "./attempts.js";
import { makeDiff } from "./diff.js";
import { h, keyed, mending, say, set } from "./dom.js";
import { roundsOf } from "./live.js";
import { makeMark } from "./marks.js";
import { duration } from "./spent.js";
import { label, percent, pictureUrl, plural, VERDICTS } from "./wording.js";

const SIDE = 512;
const ACTIONS = { rewrite: "new prompt", resample: "same prompt, another seed", edit: "edit" };

/** `choose(attempt)` shows a picture large. */
export function makeRounds({ choose }) {
  const kept = new Map();
  const element = h("div", { class: "rounds" });
  return {
    element,
    update(view) {
      const shown = view.chosen || view.state.best;
      const rounds = roundsOf(view).map((round) => ({ ...round, view, shown }));
      keyed(element, kept, rounds, (round) => round.number, () => makeRound(choose));
    },
  };
}

function makeRound(choose) {
  const kept = new Map();
  const title = h("h3", {});
  const about = h("p", { class: "soft" });
  const cards = h("ul", { class: "cards" });
  const diagnosis = makeNote("Diagnosis");
  const experience = makeNote("Experience");
  const remark = makeNote("You said");
  const notes = h("div", { class: "notes" }, diagnosis.element, experience.element, remark.element);
  const element = h("section", { class: "round" }, h("header", {}, title, about), cards, notes);

  function update({ number, attempts, view, shown }) {
    const { state, live } = view;
    say(title, `Round ${number}`);
    set(element, { "aria-label": `Round ${number}` });
    say(about, aboutRound(attempts));
    cards.dataset.count = attempts.length;
    const items = attempts.map((attempt) => ({ attempt, view, step: live.step[attempt.id], shown: attempt.id === shown }));
    keyed(cards, kept, items, (it) => it.attempt.id, () => makeCard(choose));
    diagnosis.update(live.diagnoses[number] || thoughtOf(state, number));
    experience.update((state.experiences || []).find((it) => it.round === number)?.text);
    remark.update((state.remarks || []).filter((it) => it.round === number).map((it) => it.text).join("\n"));
  }

  return { element, update };
}

function aboutRound(attempts) {
  const actions = [...new Set(attempts.map((it) => ACTIONS[it.action]).filter(Boolean))].join(", ");
  return attempts.length > 1 ? `${plural(attempts.length, "candidate")}${actions && `: ${actions}`}` : actions;
}

/** The state keeps the refiner's last thought alone, or the last few; it is of the round before the newest proposals. */
function thoughtOf(state, number) {
  const newest = Math.max(0, ...(state.proposals || []).map((it) => it.round));
  return newest - 1 === number ? state.thought : (state.thoughts || []).find((it) => it.round === number)?.text;
}

function makeNote(name) {
  const text = h("p", {});
  const element = h("div", { class: "note", hidden: true }, h("h4", { class: "label" }, name), text);
  return {
    element,
    update(words = "") {
      say(text, words);
      element.hidden = !words;
    },
  };
}

function makeCard(choose) {
  let id = "";
  const image = mending(h("img", { loading: "lazy", decoding: "async" }));
  const pick = h("button", { type: "button", class: "pick", onclick: () => choose(id) }, image);
  const bar = h("span", { class: "fill" });
  const stepping = h("span", { class: "steps" });
  const meter = h("div", { class: "meter", role: "progressbar", "aria-valuemin": "0" }, bar);
  const waiting = h("div", { class: "blank" }, stepping, meter);
  const score = h("b", {});
  const facts = h("span", { class: "soft" });
  const ticks = h("ul", { class: "ticks", "aria-label": "Verdicts" });
  const kept = new Map();
  const diff = makeDiff();
  const problem = h("p", { class: "error small", hidden: true });
  const element = h("li", { class: "shot" },
    h("div", { class: "frame" }, pick, waiting),
    h("div", { class: "words" }, h("p", { class: "caption" }, score, facts), ticks, problem, diff.element));

  function update({ attempt, view, step, shown }) {
    const { state } = view;
    const artifact = attempt.artifact || view.live.drawn[attempt.id];
    const { width = 1, height = 1 } = state.options || {};
    id = attempt.id;
    element.classList.toggle("shown", Boolean(artifact) && shown);
    element.classList.toggle("best", attempt.id === state.best);
    element.style.setProperty("--shape", `${width} / ${height}`);
    pick.hidden = !artifact;
    waiting.hidden = Boolean(artifact);
    if (artifact) {
      set(image, { src: pictureUrl(artifact, SIDE), alt: `Picture ${label(id)} of round ${attempt.round}` });
      set(pick, { "aria-pressed": shown ? "true" : "false", "aria-label": `Show picture ${label(id)} large` });
    } else drawMeter(attempt, step, view.live.running);
    say(score, isJudged(attempt) ? `${label(id)}  ${percent(attempt.score)}` : label(id));
    say(facts, factsOf(attempt, state));
    problem.hidden = !attempt.error;
    say(problem, attempt.error ? `It could not be drawn: ${attempt.error}` : "");
    drawTicks(state, attempt);
    diff.element.hidden = !attempt.prompt;
    if (attempt.prompt) diff.update({ state, attempt });
  }

  function drawMeter(attempt, step, running) {
    const waits = attempt.failure ? "not drawn" : running ? "waits for its turn" : "was not drawn";
    say(stepping, step ? `step ${step.step} of ${step.steps}` : waits);
    meter.hidden = !step;
    if (!step) return;
    set(meter, { "aria-label": `Drawing ${label(id)}`, "aria-valuemax": step.steps, "aria-valuenow": step.step });
    bar.style.setProperty("--share", step.step / step.steps);
  }

  function drawTicks(state, attempt) {
    const asked = attempt.artifact ? state.requirements || [] : [];
    ticks.hidden = !asked.length;
    keyed(ticks, kept, asked, (it) => it.id, makeTick);
    for (const it of asked) kept.get(it.id).tell(attempt.verdicts?.[it.id]);
  }

  return { element, update };
}

function makeTick() {
  const mark = makeMark();
  const element = h("li", {}, mark.element);
  let question = "";
  return {
    element,
    update: (requirement) => (question = requirement.question),
    tell(answer) {
      const verdict = answer?.verdict || "none";
      mark.update(verdict);
      set(mark.element, { "aria-label": `${question} ${VERDICTS[verdict]}` });
      set(element, { title: `${question} ${VERDICTS[verdict]}${answer?.evidence ? `: ${answer.evidence}` : ""}` });
    },
  };
}

function factsOf(attempt, state) {
  const facts = [];
  if (attempt.id === state.best) facts.push("the best");
  if (attempt.seed !== undefined) facts.push(`seed ${attempt.seed}`);
  if (attempt.reused) facts.push("found again");
  else if (attempt.seconds) facts.push(duration(attempt.seconds));
  if (attempt.action === "edit" && attempt.parent) facts.push(`edit of ${label(attempt.parent)}`);
  return facts.join(" · ");
}
