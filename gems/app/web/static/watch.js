// One thread as the page has it: begins its runs, follows them, and tells whoever looks of every new view.

import * as api from "./api.js";
import { begun, choosing, connected, emptyView, failed, happened, standing } from "./live.js";
import { follow } from "./stream.js";

/** Milliseconds between the end of a step and the snapshot that is asked for; steps in quick succession share one. */
const SETTLED = 200;
/** Milliseconds between looks at a thread that waits for a person: another device may have answered. */
const GLANCES = 5000;

/** `changed(view, before)` is called with each new view. */
export function makeWatch(thread, changed) {
  let view = emptyView(thread);
  let following = null;
  let asked = null;
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

  async function snapshot(signal) {
    const nothing = { thread_id: thread, continues: true, status: "failed", state: view.state, question: null, spent: null };
    if (view.live.error && !view.state.trajectory_id && !view.live.estimate) return nothing;
    try {
      return await api.thread(thread, signal);
    } catch (error) {
      // A run that has just begun, or that was refused at once, has left nothing yet.
      if (error.status !== 404 || view.status !== "running") throw error;
      return { ...nothing, status: (await api.runOf(thread, signal)) ? "running" : "failed" };
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
    const server = {
      begin,
      runOf: (it) => api.runOf(thread, it),
      join: (...given) => api.join(thread, ...given),
      standing: snapshot,
    };
    const told = {
      event(event) {
        become(happened(view, event));
        if (event.event === "values") look(signal);
      },
      standing(now) {
        clearTimeout(asked);
        become(standing(view, now));
      },
      connection: (state) => state !== view.live.connection && become(connected(view, state)),
    };
    try {
      await follow(server, told, signal);
    } catch (error) {
      become(failed(view, error.message));
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
          return api.runOf(thread, gone.signal).then((run) => {
            if (!run) throw error;
            return { thread_id: thread, continues: true, status: "running", state: {}, question: null };
          });
        });
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
      clearInterval(glances);
      following?.abort();
      gone.abort();
    },
  };
}
