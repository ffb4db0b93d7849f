// What the refiner changed: two prompts compared word by word.

import { h, replace } from "./dom.js";
import { leaderBefore } from "./attempts.js";
import { label, plural } from "./wording.js";

const TOKEN = /\s*(?:[\p{L}\p{M}\p{N}_]+|[^\p{L}\p{M}\p{N}_\s])|\s+/gu;
const WORD = /[\p{L}\p{N}]/u;
/** Tokens beyond which the comparison, whose time and memory grow with their product, is not made. */
const MOST = 4000;

/**
 * The pieces `{kind: "same" | "removed" | "added", text}` in reading order, by a longest common subsequence of words.
 * Those that are not `added` make up `before`, those that are not `removed` make up `after`. Texts too long to compare
 * are all removed and all added.
 */
export function diffWords(before, after) {
  const old = before.match(TOKEN) || [];
  const now = after.match(TOKEN) || [];
  if (old.length + now.length > MOST) return pieces([["removed", old], ["added", now]]);
  let start = 0;
  while (start < old.length && start < now.length && old[start] === now[start]) start += 1;
  let end = 0;
  while (end < old.length - start && end < now.length - start && old.at(-1 - end) === now.at(-1 - end)) end += 1;
  const middle = align(old.slice(start, old.length - end), now.slice(start, now.length - end));
  const runs = [["same", old.slice(0, start)], ...withoutIslands(middle), ["same", end ? old.slice(-end) : []]];
  return pieces(runs);
}

/** Runs of tokens by a table of common lengths, from the ends of both texts. */
function align(old, now) {
  const width = now.length + 1;
  const common = new Uint16Array((old.length + 1) * width);
  for (let i = old.length - 1; i >= 0; i -= 1) {
    for (let j = now.length - 1; j >= 0; j -= 1) {
      const at = i * width + j;
      common[at] = old[i] === now[j] ? common[at + width + 1] + 1 : Math.max(common[at + width], common[at + 1]);
    }
  }
  const runs = [];
  const put = (kind, token) => (runs.at(-1)?.[0] === kind ? runs.at(-1)[1].push(token) : runs.push([kind, [token]]));
  let [i, j] = [0, 0];
  while (i < old.length || j < now.length) {
    if (i < old.length && j < now.length && old[i] === now[j]) {
      put("same", old[i]);
      [i, j] = [i + 1, j + 1];
    } else if (j >= now.length || (i < old.length && common[(i + 1) * width + j] >= common[i * width + j + 1])) {
      put("removed", old[i]);
      i += 1;
    } else {
      put("added", now[j]);
      j += 1;
    }
  }
  return runs;
}

/** A lone word that both texts happen to share within a rewritten stretch only makes the change harder to read. */
function withoutIslands(runs) {
  const blocks = [];
  for (const [kind, tokens] of runs) {
    const last = blocks.at(-1);
    if (kind === "same") blocks.push({ same: tokens });
    else {
      const block = last && !last.same ? last : { removed: [], added: [] };
      if (block !== last) blocks.push(block);
      block[kind].push(...tokens);
    }
  }
  const size = (block) => (block && !block.same ? wordCount(block.removed) + wordCount(block.added) : 0);
  for (let at = 1; at < blocks.length - 1; at += 1) {
    const { same } = blocks[at];
    if (!same || wordCount(same) > 1 || Math.min(size(blocks[at - 1]), size(blocks[at + 1])) < 3) continue;
    const [left, right] = [blocks[at - 1], blocks[at + 1]];
    const merged = {
      removed: [...left.removed, ...same, ...right.removed],
      added: [...left.added, ...same, ...right.added],
    };
    blocks.splice(at - 1, 3, merged);
    at -= 1;
  }
  return blocks.flatMap((it) => (it.same ? [["same", it.same]] : [["removed", it.removed], ["added", it.added]]));
}

function pieces(runs) {
  return runs.filter(([, tokens]) => tokens.length).map(([kind, tokens]) => ({ kind, text: tokens.join("") }));
}

function wordCount(tokens) {
  return tokens.filter((token) => WORD.test(token)).length;
}

/** What an attempt's prompt is, next to what was drawn before: `{kind: first | again | edit | rewrite, from, before}`. */
export function changeOf(state, attempt) {
  if (attempt.action === "edit" && attempt.parent) return { kind: "edit", from: attempt.parent };
  const from = leaderBefore(state, attempt);
  if (!from) return { kind: "first" };
  return { kind: from.prompt === attempt.prompt ? "again" : "rewrite", from: from.id, before: from.prompt };
}

/** `{element, update({state, attempt})}`: the prompt of an attempt (or of a proposal) as a change. */
export function makeDiff() {
  const element = h("div", { class: "gx-diff" });
  let drawn;

  function update({ state, attempt }) {
    const change = attempt ? changeOf(state, attempt) : null;
    const key = JSON.stringify([change, attempt?.prompt, attempt?.seed]);
    if (key === drawn) return;
    drawn = key;
    replace(element, attempt ? drawChange(change, attempt) : null);
  }

  return { element, update };
}

function drawChange(change, attempt) {
  const plain = h("p", { class: "gx-diff-text" }, attempt.prompt);
  if (change.kind === "first") return [note("The first prompt"), plain];
  if (change.kind === "again") return [note(`The same prompt as ${label(change.from)}, another seed: ${attempt.seed}`), plain];
  if (change.kind === "edit") return [note(`Edit of ${label(change.from)}:`), plain];
  const found = diffWords(change.before, attempt.prompt);
  return [note(`Changed from ${label(change.from)}`, counted(found)), h("p", { class: "gx-diff-text" }, found.map(drawPiece))];
}

function note(...parts) {
  return h("p", { class: "gx-diff-note" }, parts.filter(Boolean).join(": "));
}

function counted(found) {
  const count = (kind) => found.filter((it) => it.kind === kind).reduce((sum, it) => sum + wordCount(it.text.match(TOKEN)), 0);
  const [added, removed] = [count("added"), count("removed")];
  const parts = [added && `${plural(added, "word")} added`, removed && `${plural(removed, "word")} removed`].filter(Boolean);
  return parts.join(", ") || "punctuation only";
}

/** Few screen readers speak `ins` and `del`: the words before them do. */
function drawPiece({ kind, text }) {
  if (kind === "same") return text;
  const [tag, said] = kind === "added" ? ["ins", "added: "] : ["del", "removed: "];
  const space = /^\s*/.exec(text)[0];
  return [space, h(tag, null, h("span", { class: "unseen" }, said), text.slice(space.length), h("span", { class: "unseen" }, "; "))];
}
