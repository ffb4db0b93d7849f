// The page: which view is shown, who is signed in, and what the parts ask of the server.

import * as api from "./api.js";
import { makeComposer } from "./composer.js";
import { h, replace, say, set } from "./dom.js";
import { makeGallery } from "./gallery.js";
import { emptyView, milestones } from "./live.js";
import { makeLogin } from "./login.js";
import { makeRun } from "./run.js";
import { makeTab } from "./tab.js";
import { makeWatch } from "./watch.js";

const main = document.getElementById("main");
const news = document.getElementById("news");
const who = document.getElementById("who");
const tab = makeTab();

let options = null;
/** What is shown now: `{close()}`. */
let shown = { close() {} };
/** A thread that was just begun here, so that its view need not ask for it first. */
let fresh = null;

const composer = makeComposer({ draw, upload: api.upload });
const gallery = makeGallery({ runs: api.runs });
const login = makeLogin({ entered: begin, signIn: api.signIn });

/** Begins a run; the composer keeps its draft until that has started. */
async function draw(given) {
  const thread = await api.newThread();
  fresh = { thread, given };
  location.hash = `#/t/${thread}`;
}

function show(element, page, close = () => {}) {
  shown.close();
  shown = { close };
  replace(main, element);
  for (const link of document.querySelectorAll("nav a")) set(link, { "aria-current": link.dataset.page === page ? "page" : null });
  scrollTo(0, 0);
}

function showMissing() {
  const head = h("h1", { tabindex: "-1" }, "There is no such thread");
  const words = h("p", {}, "It was never begun, it was deleted, or it is somebody else's. ", h("a", { href: "#/gallery" }, "To the gallery"));
  show(h("div", { class: "missing" }, head, words), "");
  document.title = "No such thread · GEMS";
  head.focus({ preventScroll: true });
}

function showNew() {
  show(composer.element, "new");
  tab.update(emptyView());
  composer.focus();
}

function showGallery() {
  show(h("div", { class: "gallery" }, h("h1", {}, "Gallery"), gallery.element), "gallery", () => gallery.update({ shown: false }));
  document.title = "Gallery · GEMS";
  gallery.update({ shown: true });
  main.focus({ preventScroll: true });
}

function showThread(thread) {
  let last = null;
  let draft = null;
  const run = makeRun({
    stop: () => watch.stop(),
    goOn: (given) => watch.begin((last = given)),
    change: (text) => watch.begin((last = { input: { prompt: text } })),
    answer: (value) => watch.begin((last = { command: { resume: value } })),
    again(filled) {
      composer.fill(filled);
      location.hash = "#/";
    },
    rewrite() {
      // After a reload, the composer itself has kept what was asked for.
      const { input, context } = last || {};
      if (input?.prompt) composer.fill({ ...input, context });
      location.hash = "#/";
    },
    retry() {
      if (!watch.view.state.options && last) watch.begin(last);
      else if (watch.view.state.options && !watch.view.state.stop_reason && watch.view.status === "failed") watch.begin({ input: null });
      else if (last) watch.begin(last);
      else watch.open();
    },
    choose: (attempt) => watch.choose(attempt),
  });
  const watch = makeWatch(thread, (view, before) => {
    if (view.status === "missing") return showMissing();
    if (draft && view.live.started) {
      composer.begun(draft);
      draft = null;
    }
    run.update(view);
    tab.update(view);
    announce(milestones(before, view));
  });
  show(run.element, "thread", () => {
    watch.close();
    run.close();
  });
  run.update(watch.view);
  if (fresh?.thread === thread) {
    draft = last = fresh.given;
    watch.begin(fresh.given);
  } else watch.open();
  fresh = null;
  run.element.querySelector("h1").focus({ preventScroll: true });
}

/** Milestones are told one after the other: what is overwritten at once is never read aloud. */
let telling = Promise.resolve();
function announce(words) {
  if (!words.length) return;
  telling = telling.then(() => {
    say(news, words.join(" "));
    return new Promise((resolve) => setTimeout(resolve, 400));
  });
}

function route() {
  const [, page, name] = location.hash.split("/");
  if (page === "t" && name) showNamed(name);
  else if (page === "gallery") showGallery();
  else {
    if (location.hash && location.hash !== "#/") history.replaceState(null, "", "#/");
    showNew();
  }
}

function showNamed(name) {
  let thread;
  try {
    thread = decodeURIComponent(name);
  } catch {
    return showMissing();
  }
  return showThread(thread);
}

function askWho() {
  say(who, "");
  removeEventListener("hashchange", route);
  show(login.element, "login", () => login.update({ shown: false }));
  document.title = "Sign in · GEMS";
  login.update({ shown: true });
}

/** Shows the page to whoever `session` says. */
async function enter(session) {
  replace(who, session.tokens
    ? [h("span", {}, session.owner), h("button", { type: "button", class: "quiet", onclick: leave }, "Sign out")]
    : null);
  options = await api.options();
  composer.update(options);
  addEventListener("hashchange", route);
  route();
}

async function leave() {
  await api.signOut();
  askWho();
}

/** Asks who is there, unless that is known, and shows the page. */
async function begin(session) {
  try {
    await enter(session || (await api.session()));
  } catch (error) {
    if (error.status === 401) askWho();
    else {
      show(h("div", { class: "error", role: "alert" }, h("p", {}, error.message),
        h("button", { type: "button", class: "button", onclick: () => begin() }, "Try again")), "");
    }
  }
}

// The address holds the view, so the skip link must not change it.
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
api.whenUnknown(askWho);
begin();
