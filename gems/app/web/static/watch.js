// One thread as the page has it: begins its runs, follows them, and tells whoever looks of every new view.

import * as api from "./api.js";
import { begun, choosing, connected, emptyView, failed, happened, missing, queueing, slowed, standing } from "./live.js";
import { follow } from "./stream.js";

/** Milliseconds between the end of a step and the snapshot that is asked for; steps in quick succession share one. */
const SETTLED = 200;
/** Milliseconds between looks at a thread that waits for a person: another device may have answered. */
const GLANCES = 5000;
/** Milliseconds without an event after which a run may be waiting for its turn, and between looks from then on. */
const QUEUED = 1500;
/** Milliseconds from the beginning of a round after which its first picture is late. */
const SLOW = 4000;
/** Statuses with which the server refuses a request for what it asks. */
const REFUSALS = [400, 413, 422];

/** `changed(view, before)` is called with each new view. */
export function makeWatch(thread, changed) {
  let view = emptyView(thread);
  let following = null;
  let asked = null;
  let late = null;
  const gone = new AbortController();

  function become(next) {
    const before = view;
    view = next;
    if (gone.signal.aborted || next === before) return;
    try {
      changed(next, before);
    } catch (error) {
      // A fault of the page is told as such: it is none of the connection's.
      reportError(error);
    }
  }

  async function snapshot(signal, lost) {
    const nothing = { thread_id: thread, continues: true, status: "failed", state: view.state, question: null, spent: null };
    if (view.live.error && !view.state.trajectory_id && !view.live.estimate) return nothing;
    try {
      return await api.thread(thread, signal);
    } catch (error) {
      // A run that has just begun, or that was refused at once, has left nothing yet.
      if (error.status !== 404 || view.status !== "running") throw error;
      if (await runOf(signal, lost)) return { ...nothing, status: "running" };
      return { ...nothing, status: "stopped", because: "it was stopped before it had begun" };
    }
  }

  /** Null too where the server does not know the thread (any more), or never could: it is the command line's. */
  function runOf(signal, lost = () => {}) {
    return api.runOf(thread, signal).catch((error) => {
      if (error.status !== 404 && error.status !== 422) throw error;
      if (error.status === 404) lost();
      return null;
    });
  }

  /** Asks, until the first event comes, whether the run waits for its turn. */
  async function queue(signal, heard) {
    for (;;) {
      await new Promise((resolve) => setTimeout(resolve, QUEUED));
      if (signal.aborted || heard() || !view.live.running) return;
      const waits = await api.isPending(thread, signal).catch(() => false);
      if (!signal.aborted && !heard() && view.live.running) become(queueing(view, waits));
    }
  }

  /** Asks where a running thread stands, soon; what comes too late is not taken. */
  function look(signal) {
    clearTimeout(asked);
    asked = setTimeout(async () => {
      const now = await snapshot(signal).catch(() => null);
      if (now && now.status === "running" && !signal.aborted) become(standing(view, now));
    }, SETTLED);
  }

  async function run(begin) {
    following?.abort();
    following = new AbortController();
    const { signal } = following;
    gone.signal.addEventListener("abort", () => signal.aborted || following.abort(), { once: true });
    let heard = false;
    let lost = false;
    const server = {
      begin,
      runOf: (it) => runOf(it, () => (lost = true)),
      join: (...given) => api.join(thread, ...given),
      async standing(it) {
        const now = await snapshot(it, () => (lost = true));
        return lost && now.status === "stopped" ? { ...now, because: "the server was restarted" } : now;
      },
    };
    const told = {
      event(event) {
        heard ||= event.event !== "metadata";
        become(happened(view, event));
        if (event.event === "values") look(signal);
        if (event.data?.event !== "round") return;
        clearTimeout(late);
        late = setTimeout(() => signal.aborted || become(slowed(view)), SLOW);
      },
      standing(now) {
        clearTimeout(asked);
        become(standing(view, now));
      },
      connection: (state) => state !== view.live.connection && become(connected(view, state)),
    };
    queue(signal, () => heard);
    try {
      await follow(server, told, signal);
    } catch (error) {
      become(failed(view, error.message, REFUSALS.includes(error.status)));
    }
  }

  function begin(given) {
    const before = view;
    become(begun(view, given.input?.prompt));
    return run(async (signal) => {
      try {
        return await api.start(thread, given, signal);
      } catch (error) {
        if (error.status) become({ ...before, live: { ...before.live, error: null } });
        throw error;
      }
    });
  }

  /** Looks whether a thread that rests here has gone on elsewhere. */
  async function glance() {
    const seen = view;
    if (document.hidden || view.live.running || view.status === "loading") return;
    const now = await api.thread(thread, gone.signal).catch(() => null);
    if (!now || view !== seen || (now.status === view.status && now.question?.id === view.question?.id)) return;
    become(standing(view, now));
    if (now.status === "running") await run(null);
  }

  const glances = setInterval(() => view.status === "waiting" && glance(), GLANCES);
  document.addEventListener("visibilitychange", glance, { signal: gone.signal });

  return {
    get view() {
      return view;
    },
    begin,
    /** Shows the thread, and follows it where it runs. */
    async open() {
      try {
        const now = await api.thread(thread, gone.signal).catch((error) => {
          if (error.status !== 404) throw error;
          return runOf(gone.signal).then((run) =>
            run && { thread_id: thread, continues: true, status: "running", state: {}, question: null });
        });
        if (!now) {
          become(missing(view));
          return;
        }
        become(standing(view, now));
        if (now.status === "running") await run(null);
      } catch (error) {
        if (error.name !== "AbortError") become(failed(view, error.message));
      }
    },
    async stop() {
      try {
        await api.cancel(thread);
      } catch (error) {
        become({ ...view, live: { ...view.live, error: error.message } });
      }
    },
    choose: (attempt) => become(choosing(view, attempt)),
    /** Looks no longer; the run goes on without. */
    close() {
      clearTimeout(asked);
      clearTimeout(late);
      clearInterval(glances);
      following?.abort();
      gone.abort();
    },
  };
}
