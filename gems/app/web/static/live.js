// What the page shows of a thread, as a pure function of what the server has told: no DOM, no clock, no requests.
//
// A thread is told in two ways. Snapshots (GET /gems/threads/<id>) are whole, but can be a step behind; events are at once,
// but partial. So an event is folded into the state it will be part of, and a snapshot of a running thread never takes
// back what an event has told.

import { isJudged } from "./attempts.js";

export function emptyView(thread = null) {
  return {
    thread,
    continues: true,
    status: thread ? "loading" : "new",
    state: {},
    question: null,
    spent: null,
    because: "",
    chosen: null,
    live: idle(),
  };
}

function idle() {
  return {
    running: false,
    queued: false,
    started: false,
    /** Of the newest round: no word of a picture has come for a while. Until the first has come, models may be loading. */
    slow: false,
    drew: false,
    refused: false,
    step: {},
    drawn: {},
    diagnoses: {},
    told: {},
    next: null,
    estimate: null,
    error: null,
    connection: "open",
  };
}

/** A run begins; `prompt` is what the user just said, where it is known. */
export function begun(view, prompt = "") {
  const state = view.state.request || !prompt ? view.state : { ...view.state, request: { prompt } };
  const live = { ...idle(), diagnoses: view.live.diagnoses, running: true };
  return { ...view, state: { ...state, stop_reason: null }, status: "running", question: null, because: "", chosen: null, live };
}

/** The same view with the attempt that the user looks at; null: the best. */
export const choosing = (view, attempt) => ({ ...view, chosen: attempt });
export const connected = (view, connection) => ({ ...view, live: { ...view.live, connection } });
/** Whether the run waits for its turn: the server works on so many at once. */
export const queueing = (view, queued) => (view.live.queued === queued ? view : { ...view, live: { ...view.live, queued } });
export const slowed = (view) => ({ ...view, live: { ...view.live, slow: true } });
/** There is no such thread. */
export const missing = (view) => ({ ...view, status: "missing", live: idle() });

/** Something went wrong with what was asked for, in words. What is known of the thread stays. `refused`: for what it was. */
export function failed(view, error, refused = false) {
  const status = view.status === "running" || view.status === "loading" ? "failed" : view.status;
  return { ...view, status, live: { ...view.live, running: false, queued: false, step: {}, connection: "open", error, refused } };
}

/** A snapshot. */
export function standing(view, thread) {
  const running = thread.status === "running";
  const same = view.state.trajectory_id === undefined || view.state.trajectory_id === thread.state.trajectory_id;
  const state = running && same ? ahead(view, thread.state) : thread.state;
  const live = running ? { ...view.live, running } : { ...view.live, running, queued: false, step: {} };
  live.diagnoses = { ...thread.diagnoses, ...live.diagnoses };
  // What a run ended with stays to be read; what was wrong before it does not.
  if (!view.live.running) live.error = null;
  return {
    ...view,
    thread: thread.thread_id,
    continues: thread.continues,
    status: thread.status,
    state: state.request || !view.state.request ? state : { ...state, request: view.state.request },
    question: thread.question,
    spent: thread.spent,
    because: thread.because || "",
    live,
  };
}

/** The snapshot with all that events have told since it was taken. */
function ahead(view, state) {
  const { told } = view.live;
  const merged = { ...state };
  merged.attempts = mergeAttempts(state.attempts, Object.values(told.attempts || {}));
  if (told.requirements) merged.requirements = told.requirements;
  if (told.plan && !((state.plan || {}).prompts || []).length) merged.plan = told.plan;
  if (told.round > (state.round || 0)) {
    merged.round = told.round;
    merged.proposals = told.proposals;
  }
  if ("best" in told) merged.best = told.best;
  const { images, reused } = view.state.usage || {};
  for (const [name, count] of Object.entries({ images, reused })) {
    if (count > (state.usage?.[name] || 0)) merged.usage = { ...merged.usage, [name]: count };
  }
  for (const note of told.experiences || []) merged.experiences = noted(merged.experiences, note);
  return merged;
}

/** By id, each field of `told` where the state has none yet. */
function mergeAttempts(attempts = [], told = []) {
  const merged = new Map(attempts.map((it) => [it.id, it]));
  for (const it of told) merged.set(it.id, { ...it, ...merged.get(it.id) });
  return [...merged.values()].sort((a, b) => a.round - b.round || placeOf(a) - placeOf(b));
}

const placeOf = (attempt) => Number(attempt.id.split(".")[1]) || 0;

const noted = (notes = [], note) => [...notes.filter((it) => it.round !== note.round), note].sort((a, b) => a.round - b.round);
const roundOf = (attempt) => Number(attempt.split(".")[0]) || 0;

/** What each event (gems/core/events.py) makes of the view. Events that are not here are passed over. */
const FOLDS = {
  started: (view, told) => {
    const { prompt, profile, seed, width, height, max_rounds, candidates, estimate, warnings } = told;
    const options = { ...view.state.options, profile, seed, width, height, max_rounds, candidates };
    const state = { request: { ...view.state.request, prompt }, options, warnings };
    return withState({ ...view, live: { ...view.live, estimate, started: true } }, state);
  },
  heard: (view, { message, rounds }) => {
    const { request } = view.state;
    const said = request.said || [request.prompt];
    return withState(view, { request: { ...request, said: said.at(-1) === message ? said : [...said, message] }, since: rounds });
  },
  amended: (view, { prompt }) => withState(view, { request: { ...view.state.request, prompt } }),
  plan: (view, { skills, reason, prompts }) =>
    tell(view, { plan: { reason, skills: Object.fromEntries(skills.map((it) => [it.name, ""])), prompts } }),
  requirements: (view, { requirements }) => tell(view, { requirements }),
  round: (view, { round, attempts }) => {
    const { prompts, actions = [] } = view.live.next || view.state.plan || {};
    const proposals = attempts.map((id, place) => ({
      id, round, parent: null, action: actions[place] || "rewrite", prompt: prompts?.[place % prompts.length],
    }));
    return tell({ ...view, live: { ...view.live, step: {}, slow: false } }, { round, proposals });
  },
  drawing: (view, { attempt, step, steps }) => ({
    ...view,
    live: { ...view.live, drew: true, step: { ...view.live.step, [attempt]: { step, steps } } },
  }),
  drawn: (view, { attempt, artifact, seconds, reused, prompt, seed, action, parent }) => {
    const step = without(view.live.step, attempt);
    const live = { ...view.live, drew: true, step, drawn: { ...view.live.drawn, [attempt]: artifact } };
    const now = tellAttempt({ ...view, live }, attempt, { artifact, seconds, reused, prompt, seed, action, parent });
    const known = (view.state.attempts || []).some((it) => it.id === attempt && it.artifact);
    return known ? now : counted(now, reused ? "reused" : "images");
  },
  not_drawn: (view, { attempt, error }) =>
    tellAttempt({ ...view, live: { ...view.live, step: without(view.live.step, attempt) } }, attempt, { error, failure: "outage" }),
  verdict: (view, { attempt, requirement, verdict }) => {
    const known = (view.state.attempts || []).find((it) => it.id === attempt);
    return tellAttempt(view, attempt, { verdicts: { ...known?.verdicts, [requirement]: verdict } });
  },
  judged: (view, { attempt, verdicts, score }) => tellAttempt(view, attempt, { verdicts, score }),
  reviewed: (view, { best, stop_reason: reason }) => withState(tell(view, { best }), { stop_reason: reason }),
  refined: (view, { round, diagnosis, actions, prompts }) => {
    const diagnoses = { ...view.live.diagnoses, [round]: diagnosis };
    return { ...view, live: { ...view.live, diagnoses, next: { actions, prompts } } };
  },
  experience: (view, note) => {
    const told = { ...view.live.told, experiences: noted(view.live.told.experiences, note) };
    return withState({ ...view, live: { ...view.live, told } }, { experiences: noted(view.state.experiences, note) });
  },
  finished: (view, { best }) => tell(view, { best }),
};

/** A server-sent event of a run. */
export function happened(view, { event, data }) {
  // What is refused before it has begun is refused for what it asks.
  if (event === "error") return { ...view, live: { ...view.live, error: wordsOf(data), refused: !view.state.options } };
  const fold = event === "custom" && FOLDS[data.event];
  return fold ? fold(queueing(view, false), data) : view;
}

/** The words of a failure, without what a library adds for its own readers. */
function wordsOf({ message, error }) {
  return (message || error || "The run failed.").split("\nFor further information")[0];
}

const withState = (view, fields) => ({ ...view, state: { ...view.state, ...fields } });
/** One more picture is drawn than the newest snapshot counts. */
const counted = (view, name) => withState(view, { usage: { ...view.state.usage, [name]: (view.state.usage?.[name] || 0) + 1 } });
const without = (object, name) => Object.fromEntries(Object.entries(object).filter(([key]) => key !== name));

/** Fields that the state has from now on, whatever an older snapshot says. */
function tell(view, fields) {
  return withState({ ...view, live: { ...view.live, told: { ...view.live.told, ...fields } } }, fields);
}

function tellAttempt(view, id, fields) {
  const proposal = (view.state.proposals || []).find((it) => it.id === id) || { id, round: roundOf(id), parent: null };
  const before = (view.live.told.attempts || {})[id] || proposal;
  const attempt = { ...before, ...fields };
  const told = { ...view.live.told, attempts: { ...view.live.told.attempts, [id]: attempt } };
  const known = (view.state.attempts || []).find((it) => it.id === id);
  const others = (view.state.attempts || []).filter((it) => it.id !== id);
  const attempts = mergeAttempts([...others, { ...known, ...attempt }]);
  return withState({ ...view, live: { ...view.live, told } }, { attempts });
}

/** The rounds, the newest first, each with its attempts: those that are done, drawn, and still to be drawn. */
export function roundsOf(view) {
  const { state, live } = view;
  const known = new Map((state.attempts || []).map((it) => [it.id, it]));
  if (live.running) {
    for (const it of state.proposals || []) if (!known.has(it.id) && it.round === state.round) known.set(it.id, it);
    for (const id of Object.keys(live.step)) if (!known.has(id)) known.set(id, { id, round: roundOf(id), parent: null });
  }
  const rounds = new Map();
  if (live.running && state.round) rounds.set(state.round, []);
  for (const it of known.values()) rounds.set(it.round, [...(rounds.get(it.round) || []), it]);
  return [...rounds].sort(([a], [b]) => b - a).map(([number, attempts]) => ({ number, attempts: attempts.sort((a, b) => placeOf(a) - placeOf(b)) }));
}

/** What is being done now, in words. */
export function doing(view) {
  const { state, live } = view;
  if (!live.running) return "";
  if (live.queued) return "Waits for another run";
  if (!state.round) return (state.requirements || []).length && state.plan?.prompts.length ? "Writing the brief" : "Planning";
  const [now] = roundsOf(view);
  const { attempts } = now;
  const missing = attempts.filter((it) => !it.artifact && !it.failure);
  if (missing.some((it) => live.step[it.id]) || (missing.length && missing.length < attempts.length)) return "Drawing";
  if ((missing.length || !attempts.length) && live.slow) return live.drew || !hasSteps(state) ? "Drawing" : "Loading the models";
  if (missing.length || !attempts.length) return "About to draw";
  if (attempts.some((it) => it.artifact && !isJudged(it))) return "Looking";
  return state.stop_reason ? "Finishing" : "Thinking";
}

/** Whether the image model is one that this machine loads, and that then tells of each step. */
const hasSteps = (state) => /^(sketch|diffusers)\b/.test(state.options?.models?.images || "");

/** Whether a request was refused for what it asks, before anything was drawn. */
export function wasRefused({ status, state, live, because }) {
  return status === "failed" && !state.options && (live.refused || Boolean(because && !live.error));
}

/** How far a run is, in [0, 1]: of its rounds, and of the round's drawings. A run can end earlier. */
export function progress(view) {
  const { state, live } = view;
  if (!live.running) return view.status === "done" ? 1 : 0;
  const rounds = state.options?.max_rounds || 1;
  const done = Math.max((state.round || 1) - (state.since || 0) - 1, 0);
  const [now] = roundsOf(view);
  const shares = (now?.attempts || []).map((it) => {
    if (isJudged(it) || it.failure) return 1;
    if (it.artifact) return 0.8;
    const at = live.step[it.id];
    return at ? (0.75 * at.step) / at.steps : 0;
  });
  const share = shares.length ? shares.reduce((sum, it) => sum + it, 0) / shares.length : 0;
  return Math.min((done + share) / rounds, 1);
}

/** What a listener is told of the way from one view to the next: milestones, not steps. */
export function milestones(before, after) {
  const began = !before.live.running && after.live.running && !after.state.trajectory_id ? ["The run has begun."] : [];
  // What was so before one looked is no news.
  if (before.status === "loading") return began;
  const said = began;
  const had = new Map((before.state.attempts || []).map((it) => [it.id, it]));
  if (!before.live.running && after.live.running && !began.length) said.push("The run goes on.");
  const wanted = (after.state.requirements || []).length;
  if (wanted && !(before.state.requirements || []).length) said.push(`${wanted} requirements to meet.`);
  if ((after.state.round || 0) > (before.state.round || 0) && after.live.running) said.push(`Round ${after.state.round}.`);
  for (const it of after.state.attempts || []) {
    const old = had.get(it.id);
    if (isJudged(it) && !(old && isJudged(old))) {
      const met = Object.values(it.verdicts).filter((verdict) => verdict.verdict === "met").length;
      said.push(`A picture of round ${it.round}: ${met} of ${Object.keys(it.verdicts).length} requirements met.`);
    }
  }
  if (after.live.connection === "again" && before.live.connection !== "again") said.push("The connection is lost; trying again.");
  if (after.status !== before.status) {
    if (after.status === "waiting") said.push("The run waits for your answer.");
    if (after.status === "done") said.push(`Done: ${after.because || "the picture is finished"}.`);
    if (after.status === "stopped") said.push("Stopped.");
  }
  if (after.live.error && after.live.error !== before.live.error) said.push(`It went wrong: ${after.live.error}`);
  return said;
}
