// The fields of a plan: its prompts, and its requirements.

import { h, keyed, say, set } from "./dom.js";
import { indented } from "./checklist.js";
import { label } from "./wording.js";

const MOST_ADDED = 20;

/** `{element, answer(), wrong()}`: `answer` has only what was changed, `wrong` says what cannot be sent. */
export function makePlanFields(question, schema) {
  const prompts = question.prompts.map((text, place) => makePrompt(text, place, question.prompts.length));
  const requirements = makeRequirements(question.requirements, schema);
  const skills = question.skills.length ? question.skills.join(", ") : "none";
  const element = h(
    "div",
    { class: "gx-fields" },
    h("dl", { class: "gx-plan" },
      h("div", null, h("dt", null, "Skills"), h("dd", null, skills)),
      question.reason ? h("div", null, h("dt", null, "Why"), h("dd", null, question.reason)) : null),
    prompts.length > 1 ? h("fieldset", null, h("legend", null, "Prompts to draw"), prompts.map((it) => it.element)) : prompts[0]?.element,
    requirements.element,
  );

  function answer() {
    const said = requirements.answer();
    const texts = prompts.map((it) => it.value() || it.first);
    if (texts.some((text, place) => text !== prompts[place].first)) said.prompts = texts;
    return said;
  }

  return { element, answer, wrong: requirements.wrong, canAccept: false };
}

function makePrompt(first, place, count) {
  const id = `gx-prompt-${place}`;
  const area = h("textarea", { id, rows: Math.min(8, 2 + Math.floor(first.length / 90)), value: first });
  const undo = h("button", { type: "button", class: "button gx-small", hidden: true }, "As it was");
  const name = count > 1 ? `Prompt ${label(`1.${place + 1}`)}` : "Prompt to draw";
  const changed = () => area.value.trim() !== first && area.value.trim() !== "";
  area.addEventListener("input", () => (undo.hidden = area.value === first));
  undo.addEventListener("click", () => {
    area.value = first;
    undo.hidden = true;
    area.focus();
  });
  const element = h("div", { class: "gx-field" }, h("div", { class: "gx-field-head" }, h("label", { for: id }, name), undo), area);
  return { element, first, value: () => (changed() ? area.value.trim() : "") };
}

function makeRequirements(requirements, schema) {
  const most = schema.properties?.add?.maxItems ?? MOST_ADDED;
  const boxes = indented(requirements).map(({ requirement, depth }) => {
    const id = `gx-keep-${requirement.id}`;
    const box = h("input", { type: "checkbox", id, checked: true });
    const row = h("li", { class: "gx-keep", dataset: { depth } }, box,
      h("label", { for: id }, requirement.question, " ", h("span", { class: "gx-chip" }, requirement.kind)));
    return { box, row, name: requirement.id };
  });
  const field = h("input", { type: "text", id: "gx-add", autocomplete: "off", "aria-describedby": "gx-add-help" });
  const add = h("button", { type: "button", class: "button", onclick: note }, "Add");
  const list = h("ul", { class: "gx-added" });
  const kept = new Map();
  let added = [];

  // Return in this field adds; it does not send the plan.
  field.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.isComposing || !field.value.trim()) return;
    event.preventDefault();
    note();
  });

  function note() {
    const text = field.value.trim();
    if (text && added.length < most && !added.includes(text)) added.push(text);
    field.value = "";
    draw();
    field.focus();
  }

  function draw() {
    set(field, { disabled: added.length >= most });
    keyed(list, kept, added, (text) => text, makeAdded);
  }

  function makeAdded(text) {
    const words = say(h("span", null), text);
    const drop = h("button", { type: "button", class: "button gx-small", "aria-label": `Remove: ${text}` }, "Remove");
    drop.addEventListener("click", () => {
      added = added.filter((it) => it !== text);
      draw();
      field.focus();
    });
    return { element: h("li", null, words, drop) };
  }

  function answer() {
    const text = field.value.trim();
    const all = text && !added.includes(text) ? [...added, text] : added;
    const drop = boxes.filter(({ box }) => !box.checked).map(({ name }) => name);
    return { ...(drop.length ? { drop } : {}), ...(all.length ? { add: all } : {}) };
  }

  function wrong() {
    const said = answer();
    const nothing = !said.add && (said.drop || []).length === boxes.length;
    return nothing ? "Every requirement is dropped: keep one, or add one." : "";
  }

  const element = h(
    "fieldset",
    null,
    h("legend", null, "What is checked in each picture"),
    h("ul", { class: "gx-keeps" }, boxes.map(({ row }) => row)),
    list,
    h("div", { class: "gx-field" },
      h("label", { for: "gx-add" }, "Check this too"),
      h("div", { class: "gx-row" }, field, add),
      h("p", { class: "gx-quiet", id: "gx-add-help" }, "A question that is answered yes when the picture is right.")),
  );
  return { element, answer, wrong };
}
