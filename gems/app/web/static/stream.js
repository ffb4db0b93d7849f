// Follows a run: reads server-sent events, joins again where a connection breaks, and asks where the run stands when
// there is nothing to join. Knows neither the events' meaning nor the page.

/** A connection that says nothing for so long is taken for dead: the server sends a heartbeat every 5 seconds. */
export const SILENCE = 20_000;
const WAITS = [300, 700, 1500, 3000, 5000];

/** Reads `{event, id, data}` out of text that arrives in pieces; data is JSON. Comments (heartbeats) are dropped. */
export function makeParser() {
  let rest = "";
  let part = { event: "", id: "", data: [] };
  return function feed(text) {
    const found = [];
    const lines = (rest + text).split(/\r\n|\n|\r(?!$)/);
    rest = lines.pop();
    for (const line of lines) {
      if (line === "") {
        if (part.data.length) found.push({ event: part.event || "message", id: part.id, data: JSON.parse(part.data.join("\n")) });
        part = { event: "", id: "", data: [] };
        continue;
      }
      const [, name, value] = /^([^:]*):? ?(.*)$/.exec(line);
      if (name === "data") part.data.push(value);
      else if (name === "event" || name === "id") part[name] = value;
    }
    return found;
  };
}

/** The events of a response, until it ends. Throws when it breaks or falls silent. */
export async function* eventsOf(response, silence = SILENCE) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  const feed = makeParser();
  try {
    for (;;) {
      let timer;
      const quiet = new Promise((_, reject) => {
        timer = setTimeout(() => reject(new Error("the stream is silent")), silence);
      });
      const { value, done } = await Promise.race([reader.read(), quiet]).finally(() => clearTimeout(timer));
      if (done) return;
      yield* feed(value);
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** Waits, but no longer than until the browser is online or the page is looked at again. */
function pause(milliseconds, signal) {
  return new Promise((resolve) => {
    const stop = new AbortController();
    const done = () => {
      stop.abort();
      clearTimeout(timer);
      resolve();
    };
    const timer = setTimeout(done, milliseconds);
    addEventListener("online", done, { signal: stop.signal });
    document.addEventListener("visibilitychange", () => document.hidden || done(), { signal: stop.signal });
    signal.addEventListener("abort", done, { signal: stop.signal });
  });
}

const runIn = (response) => /runs\/([^/?]+)/.exec(response.headers.get("Content-Location") || "")?.[1];
/** Whether asking again can help: what the server refused, it will refuse again. */
const mayPass = (error) => !error.status || error.status >= 500 || error.status === 408 || error.status === 429;

/**
 * Follows a thread until it rests.
 *
 * `server`: {begin(signal) or null, runOf(signal), join(run, last, signal), standing(signal)}; the first three as in api.js,
 * `standing` answers the thread with its `status`.
 * `told`: {event(event), standing(thread), connection("open" | "again")}.
 * Throws what the server refuses, and nothing when `signal` aborts.
 */
export async function follow(server, told, signal) {
  let begin = server.begin;
  let run = null;
  let last = "";
  let failures = 0;
  while (!signal.aborted) {
    try {
      let response = null;
      if (begin) {
        // Once: a request whose answer was lost may have begun a run all the same, which is then found below.
        const first = begin;
        begin = null;
        try {
          response = await first(signal);
        } catch (error) {
          if (error.status !== 0 || !(run = await server.runOf(signal).catch(() => null))) throw new Refused(error);
        }
        run = response ? runIn(response) : run;
      } else {
        const found = await server.runOf(signal);
        if (found !== run) [run, last] = [found, ""];
      }
      if (!response && run) response = await server.join(run, last, signal);
      if (response) {
        told.connection("open");
        for await (const event of eventsOf(response)) {
          if (event.id) last = event.id;
          failures = 0;
          told.event(event);
        }
      }
      const thread = await server.standing(signal);
      told.standing(thread);
      told.connection("open");
      if (thread.status !== "running") return;
      // Running, but by no run that can be joined: by another process, or by a server that is only just up again.
    } catch (error) {
      if (signal.aborted || error.name === "AbortError") return;
      if (error instanceof Refused) throw error.cause;
      if (!mayPass(error)) throw error;
      told.connection("again");
    }
    await pause(WAITS[Math.min(failures++, WAITS.length - 1)], signal);
  }
}

class Refused extends Error {
  constructor(cause) {
    super(cause.message, { cause });
  }
}
