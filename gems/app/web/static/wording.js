// What a person reads for the codes of the state: the same words as on the command line.

export const VERDICTS = { met: "met", unmet: "unmet", unknown: "unknown", skipped: "skipped", none: "not looked at yet" };

const ENDINGS = {
  satisfied: "satisfied",
  accepted: "accepted",
  unverified: "not verified",
  max_rounds: "best effort",
  budget: "budget used up",
  stalled: "stalled",
  stopped: "stopped",
  failed: "failed",
};

/** `2.1` as `2a`: the name that a picture has everywhere. */
export function label(attempt) {
  const [, round, place] = /^(\d+)\.(\d+)$/.exec(attempt) || [];
  return round && place > 0 && place <= 26 ? `${round}${String.fromCharCode(96 + Number(place))}` : String(attempt);
}

/** A share in [0, 1] as whole percent; 100% only when nothing is missing. */
export function percent(score) {
  if (typeof score !== "number") return "–";
  return `${score < 1 ? Math.min(Math.round(score * 100), 99) : 100}%`;
}

/** `1 picture`, `3 pictures`. */
export function plural(count, noun) {
  return `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
}

/** Where a stored picture is, from the page's own address; `side` (pixels of its longest side) asks for a thumbnail. */
export function pictureUrl(artifact, side) {
  return `images/${encodeURIComponent(artifact)}${side ? `?side=${side}` : ""}`;
}

/** How a run stands or ended, in a word or two. */
export function standing(status, stopReason) {
  if (status === "waiting") return "waits for you";
  if (status === "running") return "running";
  return ENDINGS[stopReason] || status || "unknown";
}

/** Seconds since the epoch as a date that is short: the time today, else the day. `now` is in milliseconds. */
export function shortDate(seconds, now = Date.now()) {
  const then = new Date(seconds * 1000);
  const today = new Date(now);
  if (then.toDateString() === today.toDateString()) {
    return then.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  }
  const year = then.getFullYear() === today.getFullYear() ? {} : { year: "numeric" };
  return then.toLocaleDateString([], { day: "numeric", month: "short", ...year });
}

/** With a capital letter, unless it begins with a technical name: `openai:gpt-5-mini needs a key` stays as it is. */
export function capital(text) {
  return /^[a-z]+[,;:.!?]?(\s|$)/.test(text) ? text[0].toUpperCase() + text.slice(1) : text;
}

/** The text, cut at a word where it is longer than `most` characters. */
export function shorten(text, most) {
  if (text.length <= most) return text;
  const cut = text.slice(0, most - 1);
  return `${cut.slice(0, cut.lastIndexOf(" ") > most / 2 ? cut.lastIndexOf(" ") : cut.length)}…`;
}
