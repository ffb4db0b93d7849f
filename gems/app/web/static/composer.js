// The form that a run begins with: what to draw, by which models, within which limits, after which pictures.

import { h, replace, say, set } from "./dom.js";
import { limited } from "./limited.js";
import { makeReferences } from "./references.js";

const SIZES = ["512x512", "768x768", "1024x1024", "1536x1024", "1024x1536"];
/** What the embedded engine can draw too. */
const EXAMPLES = [
  "three red apples to the left of a blue vase",
  "five yellow stars above a purple house",
  "a yellow cat under a green tree",
];
const ASKED = { none: "never", plan: "at the plan", round: "at the plan and each round" };
/** The same, where it stands behind other words. */
const BRIEFLY = { none: "never", plan: "the plan", round: "each round" };
const DRAFT = "gems.draft";

/**
 * `draw({input, context})` begins a run and answers a promise; `upload(file)` as in api.js.
 * `update(options)` takes what GET /gems/options answers; `fill({prompt, context, references})` starts from an earlier run;
 * `begun(given)`: what was given to `draw` has started, so it is no draft any more.
 */
export function makeComposer({ draw, upload }) {
  let profiles = [];
  let busy = false;
  /** Of before a reload, until the profiles and skills are known that it names. */
  let draft = kept();
  const problem = h("div", { class: "error", role: "alert", hidden: true });
  const prompt = h("textarea", {
    id: "prompt", name: "prompt", rows: "3", autocomplete: "off",
    placeholder: "What is in it, how many, which colours, where everything stands",
    oninput: () => {
      limit.keep();
      refresh();
    },
    onkeydown: (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
    },
    onpaste: (event) => {
      const files = [...event.clipboardData.files];
      if (files.length) {
        event.preventDefault();
        take(files);
      }
    },
  });
  const limit = limited(prompt);
  const profile = h("select", { id: "profile", onchange: refresh });
  const models = h("p", { class: "models soft" });
  const references = makeReferences({ upload, changed: () => (save(), refresh()) });
  const knobs = makeKnobs();
  const go = h("button", { class: "button primary", type: "submit" }, "Draw");
  const form = h("form", { class: "composer card", onsubmit: submit, oninput: save, onchange: save, "aria-label": "New picture" },
    h("label", { class: "unseen", for: "prompt" }, "What to draw"),
    prompt,
    limit.note,
    references.element,
    h("div", { class: "tools" },
      h("label", { class: "inline" }, h("span", {}, "Models"), profile),
      references.button,
      h("span", { class: "push soft keys", "aria-hidden": "true" }, "Ctrl + Enter"),
      go),
    models,
    knobs.element,
    problem);
  const element = h("div", { class: "start" },
    h("h1", {}, "What shall it draw?"),
    form,
    h("ul", { class: "examples", "aria-label": "Examples" }, EXAMPLES.map((text) =>
      h("li", {}, h("button", { type: "button", class: "chip", onclick: () => write(text) }, text)))));
  acceptDrops(form, take);

  function chosen() {
    return profiles.find((it) => it.name === profile.value);
  }

  function take(files) {
    if (chosen()?.references) references.add(files);
    else tell(`The image model of profile ${profile.value} takes no reference images.`);
  }

  function write(text) {
    prompt.value = text;
    limit.keep();
    save();
    prompt.focus();
    refresh();
  }

  function save() {
    if (!draft) keep({ prompt: prompt.value, context: context(), references: references.ids() });
  }

  const context = () => ({ profile: profile.value || undefined, ...knobs.context() });

  function tell(text) {
    say(problem, text);
    problem.hidden = !text;
  }

  function refresh() {
    const now = chosen();
    const takes = Boolean(now?.references);
    references.button.hidden = references.element.hidden = !takes;
    say(models, now ? now.problem || modelsOf(now) : "");
    models.classList.toggle("warning", Boolean(now?.problem));
    if (now) knobs.suit(now);
    go.disabled = busy || Boolean(now?.problem) || !prompt.value.trim() || (takes && references.isSending());
    say(go, busy ? "Beginning…" : "Draw");
  }

  async function submit(event) {
    event.preventDefault();
    if (go.disabled) return;
    busy = true;
    tell("");
    refresh();
    const input = { prompt: prompt.value.trim() };
    if (chosen()?.references && references.ids().length) input.references = references.ids();
    try {
      await draw({ input, context: context() });
    } catch (error) {
      tell(error.message);
    }
    busy = false;
    refresh();
  }

  prompt.value = draft?.prompt || "";
  refresh();

  function fill({ prompt: text, context: given = {}, references: ids = [] }) {
    prompt.value = text;
    if (profiles.some((it) => it.name === given.profile)) profile.value = given.profile;
    knobs.fill(given);
    references.fill(ids);
    limit.keep();
    tell("");
    save();
    refresh();
  }

  return {
    element,
    update(options) {
      // Those that cannot be used come last.
      profiles = [...options.profiles].sort((a, b) => Boolean(a.problem) - Boolean(b.problem));
      const before = profile.value;
      replace(profile, profiles.map((it) => h("option", { value: it.name }, it.problem ? `${it.name} (not set up)` : it.name)));
      profile.value = profiles.some((it) => it.name === before) ? before : (profiles.find((it) => it.default) || profiles[0])?.name;
      knobs.update(options);
      limit.most(options.limits.prompt);
      if (draft) {
        const restored = { ...draft, prompt: prompt.value };
        draft = null;
        fill(restored);
      }
      refresh();
    },
    fill,
    begun({ input }) {
      if (prompt.value.trim() !== input.prompt) return;
      prompt.value = "";
      references.fill([]);
      save();
      refresh();
    },
    focus: () => prompt.focus({ preventScroll: true }),
  };
}

function modelsOf({ mllm, images }) {
  return mllm === images ? `${images} plans, draws and looks` : `${images} draws; ${mllm} plans and looks`;
}

/** The options that most runs leave alone. What is left empty is the profile's own. */
function makeKnobs() {
  const size = h("input", { list: "sizes", pattern: "[0-9]{2,4}x[0-9]{2,4}", title: "Width x height in pixels, e.g. 1024x1024", inputmode: "text", autocomplete: "off" });
  const number = (props) => h("input", { type: "number", inputmode: "numeric", step: "1", min: "1", ...props });
  const fields = {
    max_rounds: number({ max: "100" }),
    candidates: number({ max: "16" }),
    seed: number({ min: "0", max: "4294967295", placeholder: "random" }),
    max_images: number({ placeholder: "no limit" }),
    max_calls: number({ placeholder: "no limit" }),
    max_seconds: number({ placeholder: "no limit", step: "any", min: "0.1", inputmode: "decimal" }),
    max_cost: number({ placeholder: "no limit", step: "any", min: "0.01", inputmode: "decimal" }),
  };
  const review = h("select", {},
    h("option", { value: "" }),
    Object.entries(ASKED).map(([value, words]) => h("option", { value }, words)));
  const skills = h("select", { onchange: () => (list.hidden = skills.value !== "these") },
    h("option", { value: "" }, "the planner chooses"),
    h("option", { value: "none" }, "none"),
    h("option", { value: "these" }, "these…"));
  const list = h("fieldset", { class: "skills", hidden: true }, h("legend", {}, "Skills to use"));
  const field = (name, control, hint, more = "") => h("label", { class: `field ${more}` }, h("span", {}, name, hint ? h("small", {}, ` ${hint}`) : null), control);
  const cost = field("Most money", fields.max_cost, "US dollars");
  const element = h("details", { class: "knobs" },
    h("summary", {}, "Options"),
    h("div", { class: "grid" },
      field("Size", size, "pixels"),
      field("Rounds", fields.max_rounds, "at most"),
      field("Candidates", fields.candidates, "a round"),
      field("Seed", fields.seed),
      field("Ask me", review, "", "wide"),
      field("Skills", skills, "", "wide")),
    list,
    h("div", { class: "grid" },
      field("Most images", fields.max_images),
      field("Most model calls", fields.max_calls),
      field("Most time", fields.max_seconds, "seconds"),
      cost),
    h("datalist", { id: "sizes" }, SIZES.map((it) => h("option", { value: it }))));

  const boxes = () => [...list.querySelectorAll("input")];
  return {
    element,
    /** What is left empty says what the profile does. */
    suit(profile) {
      cost.hidden = !profile.paid;
      set(size, { placeholder: profile.size });
      for (const name of ["max_rounds", "candidates"]) set(fields[name], { placeholder: profile[name] });
      say(review.options[0], `as the profile: ${BRIEFLY[profile.review] || profile.review}`);
    },
    update(options) {
      const ticked = boxes().filter((it) => it.checked).map((it) => it.value);
      replace(list, h("legend", {}, "Skills to use"), options.skills.map((it) =>
        h("label", { class: "skill" },
          h("input", { type: "checkbox", value: it.name, checked: ticked.includes(it.name) }),
          h("span", {}, h("b", {}, it.name), " ", h("small", {}, it.description)))));
    },
    fill(context) {
      size.value = context.size || "";
      review.value = context.review || "";
      skills.value = context.skills ? (context.skills.length ? "these" : "none") : "";
      list.hidden = skills.value !== "these";
      for (const box of boxes()) box.checked = (context.skills || []).includes(box.value);
      for (const [name, input] of Object.entries(fields)) input.value = context[name] ?? "";
    },
    context() {
      const given = {};
      if (size.value.trim()) given.size = size.value.trim();
      if (review.value) given.review = review.value;
      if (skills.value) given.skills = skills.value === "none" ? [] : boxes().filter((it) => it.checked).map((it) => it.value);
      for (const [name, input] of Object.entries(fields)) if (input.value !== "" && !input.closest("[hidden]")) given[name] = Number(input.value);
      return given;
    },
  };
}

/** Files dropped on `target` go to `take`; elsewhere on the page a drop does nothing, instead of leaving the page. */
function acceptDrops(target, take) {
  let depth = 0;
  const lit = (on) => target.classList.toggle("dropping", on);
  const hasFiles = (event) => [...event.dataTransfer.types].includes("Files");
  target.addEventListener("dragenter", (event) => hasFiles(event) && lit(++depth > 0));
  target.addEventListener("dragleave", (event) => hasFiles(event) && lit(--depth > 0));
  addEventListener("dragover", (event) => hasFiles(event) && event.preventDefault());
  addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    lit((depth = 0) > 0);
    if (target.contains(event.target)) take([...event.dataTransfer.files]);
  });
}

// A draft outlives a reload; where the browser keeps nothing, it does not.
function keep(draft) {
  try {
    sessionStorage.setItem(DRAFT, JSON.stringify(draft));
  } catch {
    // Kept on the page alone.
  }
}

function kept() {
  try {
    return JSON.parse(sessionStorage.getItem(DRAFT));
  } catch {
    return null;
  }
}
