// What the components ask of a state's attempts: which one is shown, which came before it, what a person ruled.

/** All attempts that have a picture: those of the state, and those that the stream has shown ahead of it. */
export function pictured(view) {
  const drawn = (view.live && view.live.drawn) || {};
  const known = attemptsOf(view.state).map((it) => (it.artifact || !drawn[it.id] ? it : { ...it, artifact: drawn[it.id] }));
  const ids = new Set(known.map((it) => it.id));
  const proposed = ((view.state && view.state.proposals) || [])
    .filter((it) => drawn[it.id] && !ids.has(it.id))
    .map((it) => ({ ...it, artifact: drawn[it.id] }));
  return [...known, ...proposed].filter((it) => it.artifact);
}

export function attemptsOf(state) {
  return (state && state.attempts) || [];
}

export function isJudged(attempt) {
  return Boolean(attempt.verdicts) && typeof attempt.score === "number";
}

/** The attempt with the highest score; of equals the first. Undefined where there is none. */
export function leader(attempts) {
  return attempts.reduce((best, it) => (!best || (it.score ?? -1) > (best.score ?? -1) ? it : best), undefined);
}

/** The attempt that is shown: the chosen one, else the best, else the leader of those judged. */
export function shownAttempt(view) {
  const attempts = attemptsOf(view.state);
  const find = (id) => attempts.find((it) => it.id === id);
  return find(view.chosen) || find(view.state && view.state.best) || leader(attempts.filter(isJudged));
}

/** The leader of the last round before `attempt` that passes `test`: what the attempt is an answer to. */
export function leaderBefore(state, attempt, test = () => true) {
  const earlier = attemptsOf(state).filter((it) => it.round < attempt.round && test(it));
  const last = Math.max(...earlier.map((it) => it.round));
  return leader(earlier.filter((it) => it.round === last));
}

/** The person's ruling on a requirement of an attempt, or undefined. */
export function rulingOn(state, attempt, requirement) {
  return ((state && state.rulings) || []).find((it) => it.attempt === attempt.id && it.requirement === requirement);
}
