// Earlier threads as a wall of pictures, searched on the server and read page by page.

import { h, keyed, say, set } from "./dom.js";
import { runs as readRuns } from "./api.js";
import { percent, pictureUrl, plural, shortDate, shorten, standing } from "./wording.js";

const PAGE = 24;
const SIDE = 256;
/** Milliseconds without a keystroke after which a search is sent. */
const STILL = 250;

/**
 * `{element, update({shown})}`: reads the first page each time it comes to be shown. `runs({limit, offset, search})`
 * answers `{runs, more}`; the address of a thread is `#/t/<id>`.
 */
export function makeGallery({ runs = readRuns } = {}) {
  const kept = new Map();
  const search = h("input", { type: "search", id: "gx-search", autocomplete: "off", spellcheck: "false", enterkeyhint: "search" });
  const told = h("p", { class: "gx-quiet gx-gallery-told", role: "status" });
  const wall = h("ul", { class: "gx-wall" });
  const more = h("button", { type: "button", class: "button", onclick: () => load(found.length) }, "More");
  const again = h("button", { type: "button", class: "button", onclick: () => load(failedAt) }, "Try again");
  const refused = h("p", { class: "gx-error", role: "alert" });
  const element = h(
    "div",
    { class: "gx-gallery" },
    h("form", { class: "gx-search", role: "search", onsubmit: submit },
      h("label", { for: "gx-search" }, "Search the prompts"), search),
    told,
    wall,
    h("div", { class: "gx-gallery-end" }, refused, again, more),
  );
  let found = [];
  let shown = false;
  let asked = 0;
  let failedAt = 0;
  let timer;

  again.hidden = more.hidden = true;
  search.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(() => load(0), STILL);
  });

  function submit(event) {
    event.preventDefault();
    clearTimeout(timer);
    load(0);
  }

  function update(view = {}) {
    const now = view.shown !== false;
    if (now && !shown) load(0);
    shown = now;
  }

  /** Reads a page and puts it behind the `offset` runs that are there. An answer that was overtaken is dropped. */
  async function load(offset) {
    asked += 1;
    const mine = asked;
    const words = search.value.trim();
    set(wall, { "aria-busy": "true" });
    set(more, { "aria-disabled": "true" });
    if (!found.length) say(told, "Looking…");
    try {
      const page = await runs({ limit: PAGE, offset, search: words });
      if (mine !== asked) return;
      const before = found.slice(0, offset);
      const known = new Set(before.map((it) => it.thread_id));
      found = [...before, ...page.runs.filter((it) => !known.has(it.thread_id))];
      const focused = document.activeElement === more;
      draw(words, page.more);
      if (offset && focused && !page.more) wall.children[before.length]?.querySelector("a").focus();
    } catch (error) {
      if (mine !== asked) return;
      failedAt = offset;
      say(refused, error.message);
      say(told, "");
      again.hidden = false;
    } finally {
      if (mine === asked) {
        set(wall, { "aria-busy": null });
        set(more, { "aria-disabled": null });
      }
    }
  }

  function draw(words, rest) {
    say(refused, "");
    again.hidden = true;
    more.hidden = !rest;
    const count = `${plural(found.length, "thread")}${rest ? ", and more" : ""}`;
    if (found.length) say(told, words ? `${count} with “${words}”` : count);
    else say(told, words ? `No prompt has “${words}” in it.` : "Nothing has been drawn yet.");
    keyed(wall, kept, found, (run) => run.thread_id, makeCard);
  }

  return { element, update };
}

function makeCard() {
  const image = h("img", { alt: "", loading: "lazy", decoding: "async", width: SIDE, height: SIDE });
  const missing = h("span", { class: "gx-card-missing", "aria-hidden": "true" }, "no picture");
  const prompt = h("span", { class: "gx-card-prompt" });
  const score = h("span", { class: "gx-card-score" });
  const status = h("span", { class: "gx-status" });
  const date = h("time", { class: "gx-card-date" });
  const foreign = h("span", { class: "gx-card-foreign" }, "from the command line");
  const facts = h("span", { class: "gx-card-facts" }, score, " ", status);
  const origin = h("span", { class: "gx-card-facts gx-card-origin" }, date, " ", foreign);
  const link = h("a", { class: "gx-card" }, h("span", { class: "gx-card-picture" }, image, missing), prompt, facts, origin);
  const element = h("li", null, link);
  // A picture that was pruned leaves its run behind.
  image.addEventListener("error", () => showPicture(false));
  showPicture(false);

  function showPicture(there) {
    set(image, { hidden: !there });
    set(missing, { hidden: there });
  }

  function update(run) {
    set(link, { href: `#/t/${encodeURIComponent(run.thread_id)}` });
    const source = run.best ? pictureUrl(run.best, SIDE) : null;
    if (source !== image.getAttribute("src")) {
      showPicture(Boolean(source));
      set(image, { src: source });
    }
    say(prompt, shorten(run.prompt || "(no prompt)", 160));
    set(prompt, { title: run.prompt && run.prompt.length > 160 ? run.prompt : null });
    say(score, typeof run.score === "number" ? `${percent(run.score)} met` : "");
    say(status, standing(run.status, run.stop_reason));
    set(status, { "data-of": run.status === "done" ? run.stop_reason || "done" : run.status });
    set(date, { datetime: new Date(run.updated * 1000).toISOString() });
    say(date, shortDate(run.updated));
    set(foreign, { hidden: run.continues !== false });
  }

  return { element, update };
}
