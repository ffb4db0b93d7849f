// What can be done with a thread: stop it, let it go on, change the picture, begin again, take it away.

import { downloadUrl, reportUrl } from "./api.js";
import { h, say, set } from "./dom.js";
import { wasRefused } from "./live.js";
import { money } from "./spent.js";
import { plural } from "./wording.js";

const MORE_ROUNDS = 3;
const NOUNS = { max_images: "images", max_calls: "model calls", max_tokens: "tokens", max_seconds: "seconds" };

/** How a run that rests can go on: what it is given, and what the button says; null where nothing is left to do. */
export function furtherOf(view) {
  const { state, status, continues } = view;
  if (!continues || !state.options || !["done", "stopped", "failed"].includes(status)) return null;
  const reason = state.stop_reason;
  // Broken off in mid-run: its pending steps go on.
  if (!reason) return { given: { input: null }, words: "Go on" };
  if (["satisfied", "accepted", "failed"].includes(reason)) return null;
  const limit = reason === "budget" ? state.result?.limit : null;
  if (limit && state.options[limit]) {
    const most = 2 * state.options[limit];
    const words = limit === "max_cost" ? `up to ${money(most)}` : `up to ${most.toLocaleString("en")} ${NOUNS[limit] || limit}`;
    return { given: { input: {}, context: { [limit]: most } }, words: `Go on, ${words}` };
  }
  const done = state.round - (state.since || 0);
  const most = Math.max(done + MORE_ROUNDS, state.options.max_rounds);
  return { given: { input: {}, context: { max_rounds: most } }, words: `Go on, ${plural(most - done, "more round")}` };
}

/** What a new run like this one is begun with. The seed is left out: the same picture is there already. */
export function againOf({ state }) {
  const { profile, width, height, max_rounds, candidates, skills } = state.options || {};
  const context = { profile, max_rounds, candidates, skills, size: width ? `${width}x${height}` : "" };
  return { prompt: state.request?.prompt || "", references: state.request?.references || [], context };
}

/** Calls: `stop()`, `goOn(given)`, `again(filled)`. */
export function makeActions({ stop, goOn, again }) {
  let view;
  const button = (name, onclick, more = "") => h("button", { type: "button", class: `button ${more}`, onclick }, name);
  const link = (name, props) => h("a", { class: "button", ...props }, name);
  const stopping = button("Stop", async () => {
    set(stopping, { "aria-disabled": "true" });
    say(stopping, "Stopping…");
    await stop();
    set(stopping, { "aria-disabled": null });
    say(stopping, "Stop");
  });
  const further = button("Go on", () => goOn(furtherOf(view).given), "primary");
  const anew = button("Start again", () => again(againOf(view)));
  const download = link("Download", { download: "" });
  const report = link("Report", { target: "_blank", rel: "noopener" });
  const element = h("div", { class: "actions" }, stopping, further, anew, download, report);

  return {
    element,
    update(now) {
      view = now;
      const shown = view.chosen || view.state.best;
      const next = furtherOf(view);
      const focused = element.contains(document.activeElement);
      stopping.hidden = !view.live.running || !view.continues;
      further.hidden = !next;
      if (next) say(further, next.words);
      anew.hidden = view.live.running || !view.state.request || wasRefused(view);
      download.hidden = !shown;
      if (shown) set(download, { href: downloadUrl(view.thread, shown) });
      report.hidden = view.live.running || !view.state.options;
      set(report, { href: reportUrl(view.thread) });
      // The button that had the focus is gone: it goes to the one that came.
      if (focused && document.activeElement.hidden) [...element.children].find((it) => !it.hidden)?.focus();
    },
  };
}
