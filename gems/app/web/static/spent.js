// What a run has spent so far, in words.

import { plural } from "./wording.js";

/** `0.4 s`, `12 s`, `3 min 05 s`. */
export function duration(seconds) {
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  if (seconds < 89.5) return `${Math.round(seconds)} s`;
  const whole = Math.round(seconds);
  return `${Math.floor(whole / 60)} min ${String(whole % 60).padStart(2, "0")} s`;
}

/** US dollars. */
export function money(dollars) {
  return dollars < 0.1 ? `$${dollars.toFixed(4)}` : `$${dollars.toFixed(2)}`;
}

/** Seconds in which a trajectory was worked on. */
export function secondsOf(state) {
  return (state.spans || []).reduce((sum, [start, end]) => sum + end - start, 0);
}

/** The parts of a run's price: images, calls, tokens, money. Time is left out: it goes on while nothing else does. */
export function spentParts(state) {
  const { images = 0, reused = 0, mllm_calls: calls = 0, input_tokens: read = 0, output_tokens: written = 0, cost = 0 } =
    state.usage || {};
  const parts = [plural(images, "image")];
  if (reused) parts.push(`${reused.toLocaleString("en")} found again`);
  parts.push(plural(calls, "model call"));
  if (read + written) parts.push(plural(read + written, "token"));
  if (cost) parts.push(money(cost));
  return parts;
}
