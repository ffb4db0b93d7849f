// Asks for the token where the server wants one.

import { h, say, set } from "./dom.js";
import { signIn as send } from "./api.js";

const REFUSED = new Set([400, 401, 403]);

/** `{element, update({shown})}`. `entered(session)` is called when the server has taken the token. */
export function makeLogin({ entered, signIn = send }) {
  const field = h("input", {
    type: "password", id: "gx-token", name: "token", autocomplete: "current-password", autofocus: true, required: true,
    spellcheck: "false", autocapitalize: "off", "aria-describedby": "gx-token-help gx-token-error",
  });
  const reveal = h("button", { type: "button", class: "button", "aria-pressed": "false", onclick: toggle }, "Show");
  const button = h("button", { type: "submit", class: "button primary" }, "Sign in");
  const error = h("p", { class: "gx-error", id: "gx-token-error", role: "alert" });
  const element = h(
    "form",
    { class: "gx-login", novalidate: true, "aria-labelledby": "gx-login-head", onsubmit: submit },
    h("h1", { id: "gx-login-head" }, "Sign in"),
    h("p", { class: "gx-quiet", id: "gx-token-help" }, "This server is not open to all. Whoever runs it has a token for you."),
    h("label", { for: "gx-token" }, "Token"),
    h("div", { class: "gx-login-row" }, field, reveal),
    error,
    button,
  );
  let shown = false;
  let busy = false;

  function toggle() {
    const open = field.type === "password";
    field.type = open ? "text" : "password";
    set(reveal, { "aria-pressed": open ? "true" : "false" });
  }

  async function submit(event) {
    event.preventDefault();
    const token = field.value.trim();
    if (busy) return;
    if (!token) {
      refuse("Enter the token first.");
      return;
    }
    busy = true;
    set(button, { "aria-disabled": "true" });
    say(button, "Signing in…");
    try {
      const session = await signIn(token);
      field.value = "";
      refuse("");
      entered(session);
    } catch (refusal) {
      refuse(REFUSED.has(refusal.status) ? "That token is wrong: this server does not know it." : refusal.message);
    } finally {
      busy = false;
      set(button, { "aria-disabled": null });
      say(button, "Sign in");
    }
  }

  function refuse(words) {
    // Said anew each time: the same words twice are two refusals.
    error.textContent = words;
    set(field, { "aria-invalid": words ? "true" : null });
    if (words) {
      field.focus();
      field.select();
    }
  }

  function update(view = {}) {
    const now = view.shown !== false;
    if (now && !shown) requestAnimationFrame(() => field.focus());
    shown = now;
  }

  return { element, update };
}
