// A thread: what was asked for, where it stands, the best picture, what is still missing, and how it got there.

import { makeActions } from "./actions.js";
import { isJudged, pictured, shownAttempt } from "./attempts.js";
import { makeChecklist } from "./checklist.js";
import { makeCompare } from "./compare.js";
import { h, keyed, mending, say, set } from "./dom.js";
import { makeFold } from "./fold.js";
import { limited } from "./limited.js";
import { doing, progress, roundsOf, wasRefused } from "./live.js";
import { makePlot } from "./plot.js";
import { makeReview } from "./review.js";
import { makeRounds } from "./rounds.js";
import { duration, secondsOf, spentParts } from "./spent.js";
import { capital, label, percent, pictureUrl } from "./wording.js";

const STAMPS = {
  satisfied: ["Satisfied", "good"], accepted: ["Accepted", "good"], stopped: ["Stopped", "part"], failed: ["Failed", "bad"],
};

/**
 * Calls: `stop()`, `goOn(given)`, `again(filled)`, `change(text)`, `answer(value)`, `retry()`, `rewrite()` (of a request
 * that was refused), `choose(attempt)`.
 * `update(view)` shows a view; a clock of its own keeps the time while a run goes on.
 */
export function makeRun(calls) {
  const head = makeHead(calls);
  const review = makeReview({ answer: calls.answer });
  const hero = makeHero(calls);
  const change = makeChange(calls);
  const rounds = makeRounds({
    choose(attempt) {
      calls.choose(attempt);
      hero.element.scrollIntoView({ behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth", block: "nearest" });
    },
  });
  const plot = makePlot({ choose: calls.choose });
  const compare = makeCompare();
  const sections = {
    rounds: section("Round by round", rounds.element),
    plot: section("Score by round", h("div", { class: "card pad" }, plot.element)),
    compare: section("Compare two pictures", h("div", { class: "card pad" }, compare.element)),
  };
  const asking = h("section", { class: "card pad asking", "aria-label": "Your answer", hidden: true }, review.element);
  const element = h("div", { class: "run" },
    head.element, asking, hero.element, change.element, sections.rounds, sections.plot, sections.compare);

  return {
    element,
    update(view) {
      const judged = (view.state.attempts || []).filter(isJudged).length;
      head.update(view);
      asking.hidden = view.status !== "waiting" || !view.question;
      review.update(view);
      hero.update(view);
      change.update(view);
      sections.rounds.hidden = !roundsOf(view).length;
      rounds.update(view);
      sections.plot.hidden = !judged;
      plot.update(view);
      sections.compare.hidden = pictured(view).length < 2;
      compare.update(view);
    },
    close: head.close,
  };
}

function section(title, ...children) {
  return h("section", { "aria-label": title, hidden: true }, h("h2", {}, title), children);
}

/** The request, how it stands, and what can be done. */
function makeHead(calls) {
  let view;
  let since = 0;
  const request = h("h1", { class: "request", tabindex: "-1" });
  const said = h("ol", { class: "said", "aria-label": "What you said" });
  const keptSaid = new Map();
  const fold = makeFold(request, said);
  const stamp = h("span", { class: "stamp" });
  const why = h("span", { class: "why" });
  const bar = h("div", { class: "fill" });
  const meter = h("div", { class: "meter whole", role: "progressbar", "aria-label": "The run", "aria-valuemin": "0", "aria-valuemax": "100" }, bar);
  const time = h("span", {});
  const cost = h("span", {});
  const problem = h("p", {});
  const retry = h("button", { type: "button", class: "button", onclick: calls.retry }, "Try again");
  const rewrite = h("button", { type: "button", class: "button", onclick: () => calls.rewrite() }, "Change the request");
  const failure = h("div", { class: "error", hidden: true }, problem, retry, rewrite);
  const connection = h("p", { class: "warning", hidden: true }, "The connection to the server is lost. Trying again.");
  const warnings = h("ul", { class: "warnings", "aria-label": "Warnings" });
  const keptWarnings = new Map();
  const actions = makeActions(calls);
  const element = h("header", { class: "head" },
    request, said, fold.button,
    h("div", { class: "standing" }, h("p", { class: "now" }, stamp, why), actions.element),
    meter, h("p", { class: "spent" }, cost, time), connection, failure, warnings);
  const timer = setInterval(tick, 1000);

  function tick() {
    if (!view) return;
    const spent = secondsOf(view.state);
    const seconds = view.live.running ? Math.max(spent, (view.spent?.seconds || 0) + (performance.now() - since) / 1000) : spent;
    say(time, seconds && !view.live.queued ? duration(view.live.running ? Math.floor(seconds) || 0 : seconds).replace(/\.0 s$/, " s") : "");
  }

  return {
    element,
    close() {
      clearInterval(timer);
      fold.close();
    },
    update(next) {
      const { state, live, status } = next;
      // The time in the queue is none that it takes.
      if (live.queued || (live.running && !view?.live.running)) since = performance.now();
      view = next;
      const words = state.request?.prompt || "";
      say(request, words || (status === "loading" ? "Loading…" : "A thread"));
      request.classList.toggle("long", words.length > 240);
      const spoken = (state.request?.said || []).map((text, place) => ({ text, place }));
      said.hidden = spoken.length < 2;
      keyed(said, keptSaid, spoken, (it) => it.place, () => line());
      const [name, tone] = stampOf(view);
      say(stamp, name);
      stamp.dataset.tone = tone;
      say(why, whyOf(view));
      meter.hidden = !live.running;
      const share = Math.round(progress(view) * 100);
      set(meter, { "aria-valuenow": share });
      bar.style.setProperty("--share", share / 100);
      say(cost, state.usage && Object.keys(state.usage).length ? spentParts(state).join(" · ") + " · " : "");
      tick();
      connection.hidden = live.connection !== "again";
      const wrong = live.error || (status === "failed" ? view.because : "");
      failure.hidden = !wrong || live.running || status === "waiting"; // a question says itself what was wrong
      say(problem, capital(wrong || ""));
      rewrite.hidden = !wasRefused(view);
      retry.hidden = !rewrite.hidden || (!view.continues && status !== "failed");
      const warned = (state.warnings || []).map((text) => ({ text }));
      warnings.hidden = !warned.length;
      keyed(warnings, keptWarnings, warned, (it) => it.text, () => line());
      actions.update(view);
    },
  };
}

function line() {
  const element = h("li", {});
  return { element, update: ({ text }) => say(element, text) };
}

function stampOf({ status, state, live }) {
  if (status === "loading") return ["Loading", "busy"];
  if (live.running) return live.queued ? ["In the queue", "busy"] : ["At work", "busy"];
  if (status === "waiting") return ["Your turn", "ask"];
  if (status === "failed") return STAMPS.failed;
  return STAMPS[state.stop_reason] || STAMPS[status] || ["Best effort", "part"];
}

function whyOf(view) {
  const { state, live, status } = view;
  if (live.running) {
    const most = state.options?.max_rounds;
    const round = state.round ? ` · round ${state.round}${most ? ` of at most ${most + (state.since || 0)}` : ""}` : "";
    const [at] = Object.values(live.step);
    return `${doing(view)}${round}${at ? ` · step ${at.step} of ${at.steps}` : ""}`;
  }
  if (status === "waiting") return view.question?.value?.kind === "plan" ? "Is this what you meant?" : "How is it so far?";
  if (status === "failed" || !view.because) return "";
  return `${capital(view.because)}.`;
}

/** The best picture, or the one that was chosen, large; beside it the requirements and the plan. */
function makeHero({ choose }) {
  const image = mending(h("img", { decoding: "async" }));
  const link = h("a", { target: "_blank", rel: "noopener" }, image);
  const blank = h("div", { class: "blank" }, h("span", { class: "gem", "aria-hidden": "true" }), h("p", {}));
  const caption = h("span", {});
  const back = h("button", { type: "button", class: "quiet", onclick: () => choose(null) }, "Back to the best");
  const score = h("b", {});
  const scored = h("span", {});
  const checklist = makeChecklist();
  const skills = h("p", { class: "skilled" });
  const reason = h("p", { class: "soft" });
  const plan = h("div", { class: "plan" }, h("h2", { class: "label" }, "The plan"), skills, reason);
  const references = h("ul", { class: "references", "aria-label": "Reference images" });
  const kept = new Map();
  const element = h("section", { class: "hero card", "aria-label": "The picture" },
    h("figure", {}, link, blank, h("figcaption", {}, caption, back)),
    h("div", { class: "side" },
      h("p", { class: "score" }, score, scored), checklist.element, plan, references));

  return {
    element,
    update(view) {
      const { state, live } = view;
      const pictures = pictured(view);
      const wanted = shownAttempt(view)?.id;
      const shown = pictures.find((it) => it.id === wanted) || pictures.at(-1);
      const { width = 1, height = 1 } = state.options || {};
      element.style.setProperty("--shape", `${width} / ${height}`);
      element.hidden = !shown && !live.running;
      element.classList.toggle("wide", width > 1.6 * height);
      link.hidden = !shown;
      blank.hidden = Boolean(shown);
      blank.classList.toggle("busy", live.running);
      say(blank.lastChild, live.running ? doing(view) : "No picture yet");
      if (shown) {
        set(link, { href: pictureUrl(shown.artifact), "aria-label": `Open picture ${label(shown.id)} in full size` });
        set(image, { src: pictureUrl(shown.artifact, 1024), alt: `${state.request?.prompt || "Picture"} (picture ${label(shown.id)})` });
      }
      say(caption, shown ? captionOf(shown, view) : "");
      back.hidden = !shown || !state.best || shown.id === state.best;
      say(score, shown && isJudged(shown) ? percent(shown.score) : "");
      say(scored, shown && isJudged(shown) ? "of the requirements met" : "");
      checklist.update(view);
      const read = Object.keys(state.plan?.skills || {});
      plan.hidden = !state.plan || !(state.plan.prompts || []).length;
      say(skills, read.length ? `With ${read.length > 1 ? "the skills" : "the skill"} ${read.join(", ")}` : "Without skills");
      say(reason, state.plan?.reason || "");
      const given = state.request?.references || [];
      references.hidden = !given.length;
      keyed(references, kept, given, (it) => it, (it) => ({
        element: h("li", {}, h("img", { src: pictureUrl(it, 128), alt: `Reference image ${given.indexOf(it) + 1}` })),
      }));
    },
  };
}

function captionOf(shown, { state, chosen }) {
  const others = isJudged(shown) ? "Ahead so far" : "Just drawn";
  const what = shown.id === state.best ? "The best so far" : shown.id === chosen ? "Chosen by you" : others;
  return `${what}: ${label(shown.id)}, seed ${shown.seed}`;
}

/** Says what to change, under a picture that is done. */
function makeChange({ change }) {
  const text = h("textarea", {
    id: "change", rows: "2", placeholder: "make the vase green", autocomplete: "off",
    oninput: () => {
      limit.keep();
      button.disabled = !text.value.trim();
    },
    onkeydown: (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      element.requestSubmit();
    },
  });
  const limit = limited(text);
  const button = h("button", { type: "submit", class: "button primary", disabled: true }, "Change it");
  const note = h("p", { class: "soft", hidden: true });
  const element = h("form", {
    class: "change card",
    onsubmit: (event) => {
      event.preventDefault();
      const said = text.value.trim();
      if (!said) return;
      text.value = "";
      button.disabled = true;
      change(said);
    },
  }, h("label", { for: "change" }, "Say what to change"), h("div", { class: "row" }, text, button), limit.note);
  const whole = h("div", { class: "changing" }, element, note);

  return {
    element: whole,
    update(view) {
      const rests = ["done", "stopped", "failed"].includes(view.status) && Boolean(view.state.best);
      element.hidden = !rests || !view.continues;
      note.hidden = !rests || view.continues;
      say(note, `This was made on the command line, and goes on there: gems follow-up ${view.thread}`);
    },
  };
}
