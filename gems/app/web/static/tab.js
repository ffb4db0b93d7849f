// The browser's tab: its title and its icon tell how far a run is.

import { doing, progress } from "./live.js";
import { percent, shorten } from "./wording.js";

const COLOURS = { running: "#3d5be0", done: "#0b9a6a", waiting: "#b97a00", stopped: "#767b88", failed: "#d3365a" };

/** The title for a view. */
export function titleOf(view) {
  const prompt = view.state.request ? shorten(view.state.request.prompt.replace(/\s+/g, " "), 60) : "";
  if (!view.thread || !prompt) return "GEMS";
  const best = (view.state.attempts || []).find((it) => it.id === view.state.best);
  const signs = {
    running: `${doing(view)}${view.state.round ? `, round ${view.state.round}` : ""} · `,
    waiting: "Your turn · ",
    done: best ? `${percent(best.score)} · ` : "Done · ",
    stopped: "Stopped · ",
    failed: "Failed · ",
  };
  return `${signs[view.status] || ""}${prompt} · GEMS`;
}

/** `{update(view)}`. */
export function makeTab() {
  const link = document.querySelector("link[rel=icon]");
  const own = link.href;
  let shown = "";
  /** Icons by colour and share: a few dozen at most, so none is taken back while the browser still reads it. */
  const made = new Map();

  function icon(view) {
    const colour = view.thread && COLOURS[view.status];
    const share = Math.round(progress(view) * 20);
    const wanted = colour ? `${colour} ${share}` : "";
    if (wanted === shown) return;
    shown = wanted;
    if (colour && !made.has(wanted)) {
      const drawn = ring(colour, view.status === "running" ? share / 20 : 1);
      made.set(wanted, URL.createObjectURL(new Blob([drawn], { type: "image/svg+xml" })));
    }
    link.href = made.get(wanted) || own;
  }

  return {
    update(view) {
      const title = titleOf(view);
      if (document.title !== title) document.title = title;
      icon(view);
    },
  };
}

function ring(colour, share) {
  const around = 2 * Math.PI * 12;
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32" fill="none" stroke-width="6">` +
    `<circle cx="16" cy="16" r="12" stroke="${colour}" stroke-opacity=".25"/>` +
    `<circle cx="16" cy="16" r="12" stroke="${colour}" stroke-linecap="round" transform="rotate(-90 16 16)" ` +
    `stroke-dasharray="${(around * Math.max(share, 0.04)).toFixed(1)} ${around.toFixed(1)}"/></svg>`
  );
}
