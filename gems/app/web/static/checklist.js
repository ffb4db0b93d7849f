// The requirements as a checklist that ticks: verdicts of one attempt, with what was seen.

import { h, keyed, replace, say, set } from "./dom.js";
import { isJudged, leaderBefore, rulingOn, shownAttempt } from "./attempts.js";
import { makeMark } from "./marks.js";
import { VERDICTS, label, percent, plural } from "./wording.js";

const DEEPEST = 3;
let made = 0;

/**
 * Requirements in reading order, each with its depth. What hangs on one requirement stands below it; what hangs on
 * several stands at the left, because no single place is right.
 */
export function indented(requirements) {
  const ids = new Set(requirements.map((it) => it.id));
  const parent = (it) => {
    const parents = it.depends_on.filter((id) => ids.has(id) && id !== it.id);
    return parents.length === 1 ? parents[0] : null;
  };
  const ordered = [];
  const placed = new Set();
  const place = (it, depth) => {
    if (placed.has(it.id)) return;
    placed.add(it.id);
    ordered.push({ requirement: it, depth: Math.min(depth, DEEPEST) });
    for (const child of requirements.filter((other) => parent(other) === it.id)) place(child, depth + 1);
  };
  for (const it of requirements) if (parent(it) === null) place(it, 0);
  for (const it of requirements) place(it, 0); // Circles have no top: they come last, not never.
  return ordered;
}

/** `{element, update(view)}`; `view.chosen`, the id of an attempt, may stand for the best. */
export function makeChecklist() {
  const kept = new Map();
  const summary = h("p", { class: "gx-check-summary", role: "status" });
  const bar = h("div", { class: "gx-check-bar", "aria-hidden": "true" });
  const list = h("ul", { class: "gx-check-list" });
  const element = h("div", { class: "gx-check" }, summary, bar, list);

  function update(view) {
    const requirements = (view.state && view.state.requirements) || [];
    const attempt = shownAttempt(view);
    const before = attempt && leaderBefore(view.state, attempt, isJudged);
    const rows = indented(requirements).map(({ requirement, depth }, place) => {
      const now = attempt?.verdicts?.[requirement.id];
      const was = now && before?.verdicts?.[requirement.id];
      return {
        requirement,
        depth,
        // The last ones show what was seen above them: below, there may be no room.
        up: place >= 4 && place >= requirements.length - 4,
        now,
        ruling: now && attempt ? rulingOn(view.state, attempt, requirement.id) : undefined,
        was: was && was.verdict !== now.verdict ? { verdict: was.verdict, attempt: before.id } : undefined,
        needs: requirements.filter((it) => requirement.depends_on.includes(it.id)),
      };
    });
    say(summary, summarized(rows, attempt, before, view.state?.best));
    drawBar(bar, rows);
    keyed(list, kept, rows, (row) => row.requirement.id, makeItem);
  }

  return { element, update };
}

function summarized(rows, attempt, before, best) {
  if (!rows.length) return "The requirements are not known yet.";
  if (!attempt) return `${plural(rows.length, "requirement")}; no picture has been looked at yet.`;
  const met = rows.filter((row) => row.now?.verdict === "met").length;
  const changed = rows.filter((row) => row.was).length;
  const since = before ? `; ${changed || "none"} changed since ${label(before.id)}` : "";
  return `${met} of ${rows.length} met by ${label(attempt.id)}${attempt.id === best ? ", the best so far" : ""}${since}.`;
}

function drawBar(bar, rows) {
  const verdicts = rows.map((row) => row.now?.verdict || "none").sort((a, b) => place(a) - place(b));
  if (bar.dataset.drawn === verdicts.join()) return;
  bar.dataset.drawn = verdicts.join();
  replace(bar, verdicts.map((verdict) => h("span", { dataset: { verdict } })));
}

function place(verdict) {
  return Object.keys(VERDICTS).indexOf(verdict);
}

/** One requirement. What was seen shows on hover and focus, and stays open when the row is pressed. */
function makeItem() {
  made += 1;
  const mark = makeMark();
  const question = h("span", { class: "gx-check-question" });
  const chips = h("span", { class: "gx-check-chips" });
  const seenId = `gx-seen-${made}`;
  const seen = h("div", { class: "gx-check-seen", id: seenId });
  const button = h(
    "button",
    { type: "button", class: "gx-check-row", "aria-expanded": "false", "aria-controls": seenId, "aria-describedby": seenId },
    mark.element,
    h("span", { class: "gx-check-words" }, question, chips),
  );
  const element = h("li", { class: "gx-check-item" }, button, seen);
  const hush = (on) => element.classList.toggle("gx-hushed", on);

  button.addEventListener("click", () => {
    const open = button.getAttribute("aria-expanded") !== "true";
    set(button, { "aria-expanded": open ? "true" : "false" });
    hush(!open);
  });
  // What hover and focus show has to go away by the keyboard too, until they come anew.
  element.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    set(button, { "aria-expanded": "false" });
    hush(true);
  });
  element.addEventListener("pointerleave", () => hush(false));
  element.addEventListener("focusout", () => hush(false));

  let drawn;
  function update(row) {
    const key = JSON.stringify(row);
    if (key === drawn) return;
    drawn = key;
    const verdict = row.now?.verdict || "none";
    element.dataset.verdict = verdict;
    element.dataset.depth = row.depth;
    element.classList.toggle("gx-up", row.up);
    mark.update(verdict, Boolean(row.ruling));
    say(question, row.requirement.question);
    replace(chips, drawChips(row));
    replace(seen, drawSeen(row));
  }

  return { element, update };
}

function drawChips({ requirement, now, was, ruling }) {
  const chips = [h("span", { class: "gx-chip" }, requirement.kind)];
  if (ruling) chips.push(h("span", { class: "gx-chip gx-chip-you" }, "ruled by you"));
  if (was) {
    const tone = now.verdict === "met" ? "better" : was.verdict === "met" ? "worse" : "other";
    chips.push(h("span", { class: "gx-chip", dataset: { tone } }, `was ${was.verdict} in ${label(was.attempt)}`));
  }
  return chips.flatMap((chip) => [" ", chip]); // The spaces part the words where the row is read aloud.
}

function drawSeen({ requirement, now, ruling, needs }) {
  const parts = [];
  if (!now) parts.push(h("p", null, "No picture has been looked at for this yet."));
  else if (ruling) parts.push(h("p", null, ruling.note ? `You: ${ruling.note}` : now.evidence || "You said so."));
  else parts.push(h("p", null, now.evidence || "The critic gave no evidence."));
  if (now && now.verdict !== "skipped" && !ruling) parts.push(drawConfidence(now.confidence));
  const names = needs.map((it) => it.id).join(" and ");
  const condition = names && `, asked only if ${names} ${needs.length > 1 ? "are" : "is"} met`;
  parts.push(h("p", { class: "gx-check-fine" }, `${requirement.id}${condition}`));
  return parts;
}

function drawConfidence(confidence) {
  const share = Math.max(0, Math.min(1, confidence || 0));
  const fill = h("span", { style: { "inline-size": `${share * 100}%` } });
  return h("p", { class: "gx-sure" }, h("span", { class: "gx-sure-bar", "aria-hidden": "true" }, fill), `${percent(share)} sure`);
}
