// The server as functions: our own routes under /gems/, and LangGraph's beside them. Knows no page.

/** Where the server's paths begin: "/", or a prefix that it is mounted under. */
const ROOT = location.pathname.replace(/gems\/[^/]*$/, "");
const SESSION = "gems/session";
const STREAMED = {
  assistant_id: "gems",
  stream_mode: ["custom", "values"],
  stream_resumable: true,
  on_disconnect: "continue",
  multitask_strategy: "reject",
  // A server that was killed can have lost its record of a thread whose checkpoints are all there.
  if_not_exists: "create",
};

/** What the server answered in place of what was asked for. `status` 0: it could not be reached. */
export class ServerError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

const WORDS = {
  401: "Sign in first.",
  403: "This is not allowed here.",
  404: "There is no such thing here.",
  409: "Something is being drawn on this thread already.",
  413: "That is too large for this server.",
  429: "Too much at once for this server. Wait a moment, then try again.",
};

/** The answer's own words: ours come as `error`, LangGraph's as `detail`. */
async function refusal(response) {
  let said = "";
  try {
    const answer = await response.json();
    said = answer.error || answer.detail || answer.message || "";
  } catch {
    // No JSON: the status has to do.
  }
  const words = typeof said === "string" && said ? said : WORDS[response.status];
  return new ServerError(response.status, words || `The server answered with status ${response.status}.`);
}

let unknown = () => {};
/** `callback()` is called when the server does not know (any more) who asks. */
export const whenUnknown = (callback) => (unknown = callback);

async function ask(path, { json, ...options } = {}) {
  if (json !== undefined) {
    options = { method: "POST", ...options, body: JSON.stringify(json) };
    options.headers = { "Content-Type": "application/json", ...options.headers };
  }
  let response;
  try {
    response = await fetch(ROOT + path, { credentials: "same-origin", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServerError(0, "The server cannot be reached. Is it running?");
  }
  if (response.status === 401 && path !== SESSION) unknown();
  if (!response.ok) throw await refusal(response);
  return response;
}

const read = async (path, options) => (await ask(path, options)).json();

export const session = () => read(SESSION);
export const signIn = (token) => read(SESSION, { json: { token } });
export const signOut = () => ask(SESSION, { method: "DELETE" });
export const options = () => read("gems/options");
export const thread = (id, signal) => read(`gems/threads/${encodeURIComponent(id)}`, { signal });

export function runs({ limit = 24, offset = 0, search = "" } = {}) {
  return read(`gems/runs?${new URLSearchParams({ limit, offset, search })}`);
}

/** Sends a picture that a drawing is to follow; answers its id and size. */
export function upload(file) {
  const body = new FormData();
  body.append("image", file);
  return read("gems/images", { method: "POST", body });
}

export const downloadUrl = (id, attempt) =>
  `${ROOT}gems/threads/${encodeURIComponent(id)}/attempts/${encodeURIComponent(attempt)}.png`;
export const reportUrl = (id) => `${ROOT}gems/report/${encodeURIComponent(id)}`;

export async function newThread() {
  return (await read("threads", { json: {} })).thread_id;
}

/** Begins a run; answers the response whose body is its stream. `given` holds input, context or command. */
export function start(id, given, signal) {
  return ask(`threads/${encodeURIComponent(id)}/runs/stream`, { json: { ...STREAMED, ...given }, signal });
}

/** The run that is being worked on, or waits for its turn; else null. */
export async function runOf(id, signal) {
  // In this order: one that begins in between is then found, not missed.
  const pending = await withStatus(id, "pending", signal);
  return (await withStatus(id, "running", signal)) || pending;
}

async function withStatus(id, status, signal) {
  const found = await read(`threads/${encodeURIComponent(id)}/runs?status=${status}&limit=1`, { signal });
  return found.length ? found[0].run_id : null;
}

export const isPending = async (id, signal) => Boolean(await withStatus(id, "pending", signal));

/** Joins a run's stream after the event `last`; "-1" is from its beginning. */
export function join(id, run, last, signal) {
  return ask(`threads/${encodeURIComponent(id)}/runs/${run}/stream`, { headers: { "Last-Event-ID": last || "-1" }, signal });
}

export async function cancel(id) {
  const run = await runOf(id);
  if (run) await ask(`threads/${encodeURIComponent(id)}/runs/${run}/cancel?wait=true`, { method: "POST" });
}
