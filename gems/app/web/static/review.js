// A run that waits: the frame of the question, the fields that both kinds have, and the sending of the answer.

import { h, replace, say, set } from "./dom.js";
import { makePlanFields } from "./review_plan.js";
import { makeRoundFields } from "./review_round.js";

const KINDS = {
  plan: {
    head: () => "Is this what you meant?",
    lead: "Nothing is drawn yet. Change what you like, then let it be drawn.",
    make: makePlanFields,
    again: "Ask me again after the rounds",
    actions: [["approve", "Draw this"], ["stop", "Stop here"]],
  },
  round: {
    head: (question) => `Round ${question.round}: what do you make of it?`,
    lead: "Say nothing and it goes on as it finds best. What you rule and say counts more than what the models think.",
    make: makeRoundFields,
    again: "Ask me again after the next round",
    actions: [["approve", "Go on"], ["accept", "Take the best as it is"], ["stop", "Stop for now"]],
  },
};

/**
 * `{element, update(view), focus()}`; hidden while nothing is asked. `answer(object)` sends a PlanAnswer or RoundAnswer
 * (gems/core/answers.py) and rejects with an Error where it is refused: then the form stays as it is, with the error's
 * words beside it. A question that comes back with the same id finds the form as it was left.
 */
export function makeReview({ answer }) {
  const element = h("section", { class: "gx-review", hidden: true, "aria-labelledby": "gx-review-head" });
  let form = null;

  function update(view) {
    const { question } = view;
    const asked = Boolean(question && KINDS[question.value?.kind]);
    set(element, { hidden: !asked });
    if (!asked) {
      form?.away();
      return;
    }
    if (form?.id !== question.id) {
      form = makeForm(question, view, answer);
      replace(element, form.element);
    }
    form.back(view);
  }

  return { element, update, focus: () => form?.focus() };
}

function makeForm(question, view, answer) {
  const { value, response_schema: schema } = question;
  const kind = KINDS[value.kind];
  const fields = kind.make(value, schema || {}, view);
  const limits = schema?.properties || {};
  const head = h("h2", { id: "gx-review-head", tabindex: "-1" }, kind.head(value));
  const feedback = h("textarea", { id: "gx-feedback", rows: 2, maxlength: limits.feedback?.maxLength ?? null });
  const again = h("input", { type: "checkbox", id: "gx-again", checked: true });
  const asksAgain = value.kind === "round" || view.state?.options?.review === "round";
  const error = h("p", { class: "gx-error", role: "alert" });
  const buttons = kind.actions
    .filter(([action]) => action !== "accept" || fields.canAccept)
    .map(([action, words], place) => h("button",
      { type: place ? "button" : "submit", class: `button${place ? "" : " primary"}`, onclick: place ? () => send(action) : null },
      words));
  const sending = h("span", { class: "gx-quiet", role: "status" });
  const element = h(
    "form",
    { class: "gx-review-form", onsubmit: (event) => (event.preventDefault(), send("approve")) },
    h("header", null, head, h("p", { class: "gx-quiet" }, kind.lead)),
    h("blockquote", { class: "gx-asked" }, h("span", { class: "unseen" }, "The request: "), value.request),
    fields.element,
    h("div", { class: "gx-field" }, h("label", { for: "gx-feedback" }, "A word to the model that chooses what changes"), feedback),
    h("p", { class: "gx-tickbox", hidden: !asksAgain }, again, h("label", { for: "gx-again" }, kind.again)),
    error,
    h("div", { class: "gx-actions" }, buttons, sending),
  );
  let state = "open"; // open, sending, sent, or taken: sent, and the question was seen to be gone
  let errorSeen = view.live?.error;

  async function send(action) {
    if (state !== "open") return;
    const wrong = action === "stop" ? "" : fields.wrong();
    if (wrong) {
      refuse(wrong);
      return;
    }
    refuse("");
    enter("sending");
    try {
      await answer(filled(action));
      if (state === "sending") enter("sent");
    } catch (refusal) {
      enter("open");
      refuse(refusal.message || String(refusal));
    }
  }

  function filled(action) {
    const said = { action, ...fields.answer() };
    if (feedback.value.trim()) said.feedback = feedback.value.trim();
    if (asksAgain && !again.checked) said.ask_again = false;
    return said;
  }

  function enter(next) {
    state = next;
    for (const button of buttons) set(button, { "aria-disabled": next === "open" ? null : "true" });
    say(sending, { sending: "Sending…", sent: "Sent." }[next] || "");
  }

  function refuse(words) {
    error.textContent = words;
  }

  return {
    id: question.id,
    element,
    focus: () => head.focus(),
    /** The question is not asked just now. */
    away: () => (state === "sending" || state === "sent") && enter("taken"),
    /** It is asked: again, where the run did not take the answer that was sent. */
    back: (now) => {
      const said = now.live?.error;
      const refused = said && said !== errorSeen;
      errorSeen = said;
      if (state === "taken" || (state === "sent" && refused)) {
        enter("open");
        refuse(said || "The answer was not taken. Send it again.");
      }
    },
  };
}
