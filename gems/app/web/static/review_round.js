// The fields of a round: which picture is the best, verdicts that are wrong, and the next prompt.

import { h, say, set } from "./dom.js";
import { isJudged, leader } from "./attempts.js";
import { indented } from "./checklist.js";
import { makeMark } from "./marks.js";
import { label, percent, pictureUrl, shorten } from "./wording.js";

const SIDE = 512;

/** `{element, answer(), wrong(), canAccept}`: `answer` has only what was changed. */
export function makeRoundFields(question, schema) {
  const limits = schema.properties || {};
  const choices = choicesOf(limits.best);
  const shown = question.attempts;
  const found = bestOf(question);
  const rulings = [];
  const cards = shown.map((attempt) => {
    const sheet = attempt.verdicts && question.requirements.length ? makeRulings(attempt, question.requirements, schema) : null;
    if (sheet) rulings.push(sheet);
    return makeCard(attempt, question, choices ? choices.includes(attempt.id) : isJudged(attempt), sheet);
  });
  const canPick = cards.some((it) => it.querySelector("input[name=gx-best]"));
  const loop = h("p", { class: "gx-tickbox", hidden: !canPick },
    h("input", { type: "radio", name: "gx-best", id: "gx-best-loop", value: "", checked: true }),
    h("label", { for: "gx-best-loop" }, `As the loop finds${found ? ` (now ${label(found.id)})` : ""}`));
  const prompt = h("textarea", { id: "gx-next", rows: 3, maxlength: limits.prompt?.maxLength ?? null });
  const start = h("button", { type: "button", class: "button gx-small" }, found ? `Start from ${label(found.id)}'s prompt` : "");
  start.hidden = !found;
  start.addEventListener("click", () => {
    prompt.value = found.prompt;
    prompt.focus();
  });
  const element = h(
    "div",
    { class: "gx-fields" },
    h("fieldset", null,
      h("legend", null, canPick ? "Which picture is the best?" : "The pictures"),
      loop,
      h("div", { class: "gx-attempts" }, cards)),
    h("div", { class: "gx-field" },
      h("div", { class: "gx-field-head" }, h("label", { for: "gx-next" }, "Draw this next (empty: the models decide)"), start),
      prompt),
  );

  function answer() {
    const said = {};
    const best = element.querySelector("input[name=gx-best]:checked")?.value;
    const overrule = rulings.flatMap((it) => it.answer());
    if (best) said.best = best;
    if (overrule.length) said.overrule = overrule;
    if (prompt.value.trim()) said.prompt = prompt.value.trim();
    return said;
  }

  return { element, answer, wrong: () => "", canAccept: Boolean(found) };
}

/** What a property of a JSON schema may be; null where the schema does not say. */
function choicesOf(property) {
  if (!property) return null;
  return property.enum || ("const" in property ? [property.const] : null);
}

/** Of those shown, the one that meets most; of equals, the one that was the best before. */
function bestOf(question) {
  const judged = question.attempts.filter(isJudged);
  const top = leader(judged);
  return judged.find((it) => it.id === question.best && it.score === top.score) || top;
}

function makeCard(attempt, question, canPick, sheet) {
  const name = label(attempt.id);
  const facts = [`${percent(attempt.score)} met`, attempt.action, `seed ${attempt.seed}`];
  if (attempt.id === question.best) facts.push("the best so far");
  const id = `gx-best-${attempt.id}`;
  const pick = canPick
    ? h("p", { class: "gx-tickbox" },
        h("input", { type: "radio", name: "gx-best", id, value: attempt.id }),
        h("label", { for: id }, `${name} is the best`))
    : null;
  const picture = attempt.artifact
    ? h("img", { src: pictureUrl(attempt.artifact, SIDE), alt: `Picture ${name}: ${shorten(attempt.prompt, 200)}`, loading: "lazy" })
    : h("p", { class: "gx-missing" }, `Not drawn: ${attempt.error || "there is no picture"}`);
  return h(
    "article",
    { class: "gx-attempt", "aria-label": `Picture ${name}` },
    h("div", { class: "gx-attempt-picture" }, picture),
    h("div", { class: "gx-attempt-words" },
      h("p", { class: "gx-attempt-facts" }, h("strong", null, name), " ", attempt.artifact ? facts.join(", ") : `seed ${attempt.seed}`),
      h("p", { class: "gx-attempt-prompt" }, attempt.prompt),
      pick,
      sheet && sheet.element),
  );
}

/** The verdicts of one picture, each with two buttons that put another in its place. */
function makeRulings(attempt, requirements, schema) {
  const most = schema.$defs?.Overruling?.properties?.note?.maxLength ?? null;
  const rows = indented(requirements)
    .filter(({ requirement }) => attempt.verdicts[requirement.id])
    .map(({ requirement, depth }) => makeRuling(attempt, requirement, depth, most, count));
  const open = rows.filter((it) => it.verdict !== "met").length;
  const told = h("span", { class: "gx-chip gx-chip-you", hidden: true });
  const summary = h("summary", null,
    `${rows.length - open} met, ${open} not`, " ", h("span", { class: "gx-quiet" }, "is a verdict wrong?"), " ", told);
  const element = h("details", { class: "gx-rulings" }, summary, h("ul", null, rows.map((it) => it.element)));

  function count() {
    const ruled = rows.filter((it) => it.answer()).length;
    told.hidden = !ruled;
    say(told, `${ruled} ruled by you`);
  }

  return { element, answer: () => rows.map((it) => it.answer()).filter(Boolean) };
}

function makeRuling(attempt, requirement, depth, most, changed) {
  const given = attempt.verdicts[requirement.id];
  const mark = makeMark();
  mark.update(given.verdict);
  const about = `“${requirement.question}” on ${label(attempt.id)}`;
  const note = h("input", { type: "text", maxlength: most, "aria-label": `Why, of ${about}`, placeholder: "Why? (optional)" });
  const why = h("div", { class: "gx-why", hidden: true }, note);
  let ruled = null;
  const buttons = ["met", "unmet"].map((verdict) => {
    const button = h("button", { type: "button", class: "gx-rule", "aria-pressed": "false", dataset: { verdict } });
    const words = verdict === "met" ? "it is" : "it is not";
    set(say(button, words), { "aria-label": `${words}: ${about}` });
    button.addEventListener("click", () => rule(ruled === verdict ? null : verdict));
    return button;
  });

  function rule(verdict) {
    ruled = verdict;
    for (const button of buttons) set(button, { "aria-pressed": button.dataset.verdict === verdict ? "true" : "false" });
    why.hidden = !verdict;
    mark.update(verdict || given.verdict, Boolean(verdict));
    changed();
  }

  const element = h(
    "li",
    { class: "gx-ruling", dataset: { depth } },
    mark.element,
    h("div", { class: "gx-ruling-words" }, requirement.question, h("span", { class: "gx-quiet" }, given.evidence)),
    h("div", { class: "gx-rules", role: "group", "aria-label": about }, buttons),
    why,
  );

  function answer() {
    if (!ruled) return null;
    const said = { attempt: attempt.id, requirement: requirement.id, verdict: ruled };
    return note.value.trim() ? { ...said, note: note.value.trim() } : said;
  }

  return { element, verdict: given.verdict, answer };
}
