"""The page's own logic, in a real Chromium without a server: what it makes of events, and how it follows a run."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import Any, Final

import pytest
from playwright.sync_api import Page, Route, sync_playwright

from gems.app.web.page import HEADERS, read_files

CHROMIUM: Final = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
IS_NEEDED: Final = os.environ.get("GEMS_NEED_BROWSER") == "1"
ADDRESS: Final = "http://gems.test/gems/"
BLANK: Final = (
    '<!doctype html><html lang="en"><title>Logic</title><link rel="icon" href="static/icon.svg"><main></main></html>'
)
HOSTILE: Final = '<img src=x onerror="window.hacked=1"><b>bold</b>'

pytestmark = pytest.mark.skipif(CHROMIUM is None and not IS_NEEDED, reason="needs Chromium: apt-get install chromium")


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """An empty page under the real one's policy, whose modules can be imported."""
    if CHROMIUM is None:
        pytest.fail("GEMS_NEED_BROWSER is set, and there is no Chromium: apt-get install chromium")
    known = read_files()

    def serve(route: Route) -> None:
        name = route.request.url.removeprefix(f"{ADDRESS}static/")
        if route.request.url == ADDRESS:
            route.fulfill(body=BLANK, content_type="text/html", headers=dict(HEADERS))
        elif name in known:
            route.fulfill(body=known[name].plain.content, content_type=known[name].content_type)
        else:
            route.fulfill(status=404, body="")

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.route("**/*", serve)
        page.goto(ADDRESS)
        yield page
        browser.close()


def run(page: Page, script: str, given: Any = None) -> Any:
    """What the script returns; it finds the page's modules by their names."""
    names = '["live", "stream", "actions", "tab", "run", "wording", "composer", "watch"]'
    imports = f"await Promise.all({names}.map((name) => import(`/gems/static/${{name}}.js`)))"
    return page.evaluate(
        f"async (given) => {{ const [live, stream, actions, tab, run, wording, composer, watch] = {imports}; {script} }}",
        given,
    )


def custom(event: str, **fields: Any) -> dict[str, Any]:
    return {"event": "custom", "id": "1", "data": {"event": event, **fields}}


MET: Final = {"verdict": "met", "evidence": "seen", "confidence": 1.0}
UNMET: Final = {"verdict": "unmet", "evidence": "not seen", "confidence": 0.9}
REQUIREMENTS: Final = [
    {"id": "r1", "question": "Is there an apple?", "kind": "object", "depends_on": []},
    {"id": "r2", "question": "Is it red?", "kind": "attribute", "depends_on": ["r1"]},
]
FIRST_ROUND: Final = [
    custom(
        "started", prompt="a red apple", profile="sketch", seed=5, width=256, height=256, max_rounds=2, candidates=2,
        estimate={"images": 4, "calls": 9, "cost": 0.0, "max_cost": None}, warnings=["small"],
    ),
    custom("requirements", requirements=REQUIREMENTS),
    custom("plan", skills=[{"name": "spatial-layout", "files": ["SKILL.md"]}], reason="It counts.", prompts=["one", "two"]),
    custom("round", round=1, attempts=["1.1", "1.2"]),
    custom("drawing", attempt="1.1", round=1, candidate="a", step=3, steps=12),
    custom("drawn", attempt="1.1", round=1, candidate="a", artifact="a" * 64, seconds=0.5, reused=False, prompt="one", seed=5,
           action="rewrite", parent=None),
    custom("not_drawn", attempt="1.2", round=1, candidate="b", error="no room"),
    custom("verdict", attempt="1.1", round=1, candidate="a", requirement="r1", verdict=MET),
    custom("judged", attempt="1.1", round=1, candidate="a", verdicts={"r1": MET, "r2": UNMET}, score=0.5),
    custom("reviewed", round=1, best="1.1", artifact="a" * 64, score=0.5, stop_reason=None),
    custom("refined", round=1, diagnosis="It is green.", actions=["edit", "rewrite"], prompts=["make it red", "a red one"]),
    custom("round", round=2, attempts=["2.1", "2.2"]),
    custom("experience", round=1, text="Say red first.", source="model"),
]  # fmt: skip
FOLD: Final = """
const views = [live.begun(live.emptyView("t"), "a red apple")];
for (const event of given) views.push(live.happened(views.at(-1), event));
"""


def test_events_become_the_state_that_they_will_be_part_of(page: Page) -> None:
    view = run(page, FOLD + "return views.at(-1);", FIRST_ROUND)
    state = view["state"]
    assert state["request"] == {"prompt": "a red apple"}
    assert state["options"] == {
        "profile": "sketch",
        "seed": 5,
        "width": 256,
        "height": 256,
        "max_rounds": 2,
        "candidates": 2,
    }
    assert state["requirements"] == REQUIREMENTS
    assert state["plan"] == {"skills": {"spatial-layout": ""}, "reason": "It counts.", "prompts": ["one", "two"]}
    first, second = state["attempts"]
    assert (first["artifact"], first["score"], first["verdicts"]["r2"]) == ("a" * 64, 0.5, UNMET)
    assert (second["error"], second["prompt"], "artifact" in second) == ("no room", "two", False)
    assert (state["best"], state["round"]) == ("1.1", 2)
    assert [(it["id"], it["action"], it["prompt"]) for it in state["proposals"]] == [
        ("2.1", "edit", "make it red"),
        ("2.2", "rewrite", "a red one"),
    ]
    assert view["live"]["diagnoses"] == {"1": "It is green."}
    assert state["experiences"] == [{"event": "experience", "round": 1, "text": "Say red first.", "source": "model"}]
    assert view["status"] == "running"


def test_a_run_is_told_step_by_step(page: Page) -> None:
    told = run(
        page, FOLD + "return views.map((it) => [live.doing(it), live.progress(it), tab.titleOf(it)]);", FIRST_ROUND
    )
    doing = [words for words, _, _ in told]
    assert doing == [
        "Planning", "Planning", "Planning", "Writing the brief", "About to draw", "Drawing", "Drawing", "Looking", "Looking",
        "Thinking", "Thinking", "Thinking", "About to draw", "About to draw",
    ]  # fmt: skip
    shares = [share for _, share, _ in told]
    assert shares == sorted(shares)
    assert shares[5] == pytest.approx((0.75 * 3 / 12 / 2) / 2)
    assert shares[-1] == 0.5
    assert told[5][2] == "Drawing, round 1 · a red apple · GEMS"


def test_only_milestones_are_read_aloud(page: Page) -> None:
    script = (
        FOLD
        + """
    const said = [live.milestones(live.emptyView("t"), views[0])];
    for (let place = 1; place < views.length; place++) said.push(live.milestones(views[place - 1], views[place]));
    return said.flat();
    """
    )
    assert run(page, script, FIRST_ROUND) == [
        "The run has begun.", "2 requirements to meet.", "Round 1.",
        "A picture of round 1: 1 of 2 requirements met.", "Round 2.",
    ]  # fmt: skip


def test_a_run_that_waits_for_its_turn_says_so_until_it_is_worked_on(page: Page) -> None:
    script = """
    let view = live.queueing(live.begun(live.emptyView("t"), "a red apple"), true);
    const shown = run.makeRun({});
    shown.update(view);
    const told = [shown.element.querySelector(".now").textContent, tab.titleOf(view)];
    view = live.happened(view, given);
    shown.update(view);
    shown.close();
    return [...told, shown.element.querySelector(".now").textContent];
    """
    assert run(page, script, FIRST_ROUND[0]) == [
        "In the queueWaits for another run", "Waits for another run · a red apple · GEMS", "At workPlanning",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("images", "late"),
    [("sketch", "Loading the models"), ("diffusers:x", "Loading the models"), ("openai:x", "Drawing")],
)
def test_a_first_picture_that_is_late_waits_for_the_models_where_this_machine_loads_them(
    page: Page, images: str, late: str
) -> None:
    script = """
    let view = live.begun(live.emptyView("t"), "a red apple");
    const told = [];
    for (const event of given.events) {
      view = live.happened(view, event);
      view = {...view, state: {...view.state, options: {...view.state.options, models: {images: given.images}}}};
      if (["round", "drawing"].includes(event.data.event)) told.push(live.doing(view), live.doing(live.slowed(view)));
    }
    return told;
    """
    told = run(page, script, {"events": FIRST_ROUND, "images": images})
    assert told == ["About to draw", late, "Drawing", "Drawing", "About to draw", "Drawing"]


def test_pictures_are_counted_as_they_are_drawn(page: Page) -> None:
    script = (
        FOLD
        + """
    const again = live.happened(views.at(-1), given.find((it) => it.data.event === "drawn"));
    const late = live.standing(again, {status: "running", state: {...again.state, usage: {images: 0, mllm_calls: 3}}});
    const newer = live.standing(again, {status: "running", state: {...again.state, usage: {images: 4}}});
    return [again, late, newer].map((it) => it.state.usage);
    """
    )
    assert run(page, script, FIRST_ROUND) == [{"images": 1}, {"images": 1, "mllm_calls": 3}, {"images": 4}]


def test_diagnoses_of_earlier_rounds_come_with_the_snapshot(page: Page) -> None:
    attempts = [{"id": f"{number}.1", "round": number, "artifact": "a" * 64} for number in (1, 2)]
    done = snapshot(status="done", diagnoses={"1": "It is green.", "2": "It is small."})
    done["state"] |= {"attempts": attempts, "round": 2}
    script = """
    const view = live.standing(live.emptyView("t"), given);
    const shown = run.makeRun({});
    shown.update(view);
    shown.close();
    return [...shown.element.querySelectorAll(".note:not([hidden])")].map((it) => it.textContent);
    """
    assert run(page, script, done) == ["DiagnosisIt is small.", "DiagnosisIt is green."]


@pytest.mark.parametrize(
    ("view", "refused"),
    [
        ({"live": {"error": "no such word", "refused": True}, "state": {"request": {"prompt": "x"}}}, True),
        ({"because": "it was refused: no such word", "live": {"error": None, "refused": False}, "state": {}}, True),
        ({"live": {"error": "cannot be reached", "refused": False}, "state": {"request": {"prompt": "x"}}}, False),
        ({"because": "no model answers", "live": {"error": None, "refused": False}, "state": {"options": {}}}, False),
    ],
)
def test_a_request_that_was_refused_can_be_changed_and_an_outage_tried_again(
    page: Page, view: dict[str, Any], refused: bool
) -> None:
    script = """
    const shown = run.makeRun({});
    const view = live.failed(live.emptyView("t"), null);
    shown.update({...view, ...given, live: {...view.live, ...given.live}});
    shown.close();
    return [...shown.element.querySelectorAll(".error button:not([hidden])")].map((it) => it.textContent);
    """
    assert run(page, script, view) == ["Change the request" if refused else "Try again"]


def test_an_error_before_the_beginning_refuses_and_a_later_one_does_not(page: Page) -> None:
    script = """
    const error = {event: "error", data: {message: "no"}};
    const begun = live.begun(live.emptyView("t"), "a red apple");
    return [begun, live.happened(begun, given)].map((it) => live.happened(it, error).live.refused);
    """
    assert run(page, script, FIRST_ROUND[0]) == [True, False]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("every requirement is met", "Every requirement is met"),
        ("stopped: by you", "Stopped: by you"),
        ("openai:gpt-5-mini needs a key", "openai:gpt-5-mini needs a key"),
        ("max_cost is spent", "max_cost is spent"),
        ("", ""),
    ],
)
def test_words_begin_with_a_capital_and_technical_names_stay(page: Page, text: str, shown: str) -> None:
    assert run(page, "return wording.capital(given);", text) == shown


def test_a_long_request_is_folded_and_shown_whole_when_asked(page: Page) -> None:
    script = """
    const style = document.createElement("link");
    Object.assign(style, {rel: "stylesheet", href: "static/style.css"});
    await new Promise((resolve) => { style.onload = resolve; document.head.append(style); });
    const frames = () => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
    const shown = run.makeRun({});
    document.querySelector("main").replaceChildren(shown.element);
    const told = [];
    for (const prompt of ["a red apple", "many words of a request ".repeat(400)]) {
      shown.update(live.begun(live.emptyView("t"), prompt));
      await frames();
      told.push(!shown.element.querySelector(".head .quiet").hidden);
    }
    const head = shown.element.querySelector("h1");
    const button = shown.element.querySelector(".head .quiet");
    const folded = head.clientHeight;
    told.push(button.textContent);
    button.click();
    await frames();
    told.push(button.hidden, button.textContent, folded < 200, head.clientHeight > 3 * folded);
    button.click();
    await frames();
    told.push(button.textContent, head.clientHeight === folded);
    shown.close();
    style.remove();
    return told;
    """
    assert run(page, script) == [False, True, "Show all", False, "Show less", True, True, "Show all", True]


def a_profile(name: str, **fields: Any) -> dict[str, Any]:
    told = {"name": name, "mllm": "sketch", "images": "sketch", "default": False, "references": 0, "paid": False}
    own = {"size": "256x256", "max_rounds": 2, "candidates": 1, "review": "none", "problem": None}
    return {**told, **own, **fields}


OPTIONS: Final = {
    "profiles": [a_profile("paid", problem="openai:gpt-5-mini needs a key"), a_profile("sketch", default=True)],
    "skills": [{"name": "counting", "description": "of things"}],
    "limits": {"prompt": 20_000},
}
COMPOSER: Final = """
const sent = [];
const made = composer.makeComposer({draw: async (it) => sent.push(it), upload: async () => ({id: "a"})});
document.querySelector("main").replaceChildren(made.element);
made.update(given);
const part = (selector) => made.element.querySelector(selector);
const type = (text) => {
  part("#prompt").value = text;
  part("#prompt").dispatchEvent(new Event("input", {bubbles: true}));
};
"""


def test_a_profile_that_cannot_be_used_is_last_and_draws_nothing(page: Page) -> None:
    script = (
        COMPOSER
        + """
    type("a red apple");
    const told = [[...part("#profile").options].map((it) => it.textContent), part("#profile").value, part("button.primary").disabled];
    part("#profile").value = "paid";
    part("#profile").dispatchEvent(new Event("change", {bubbles: true}));
    made.element.querySelector("form").requestSubmit();
    const at = [part("button.primary").disabled, part(".models").textContent, sent.length];
    sessionStorage.clear();
    return [...told, ...at];
    """
    )
    assert run(page, script, OPTIONS) == [
        ["sketch", "paid (not set up)"], "sketch", False, True, "openai:gpt-5-mini needs a key", 0,
    ]  # fmt: skip


def test_what_is_cut_is_said(page: Page) -> None:
    script = (
        COMPOSER
        + """
    type("x".repeat(19_999) + "🍎".repeat(5000));
    const told = [part(".warning[role=status]").textContent, part("#prompt").value.length, part("#prompt").value.at(-1)];
    type("short");
    const gone = part(".warning[role=status]").hidden;
    sessionStorage.clear();
    return [...told, gone];
    """
    )
    assert run(page, script, OPTIONS) == ["Cut at 20,000 of 29,999 characters.", 19_999, "x", True]


def test_a_draft_is_whole_after_a_reload_until_its_run_has_started(page: Page) -> None:
    script = (
        COMPOSER
        + """
    type("a red apple");
    const fields = made.element.querySelectorAll(".knobs .field");
    const set = (place, value) => {
      const control = fields[place].querySelector("input, select");
      control.value = value;
      control.dispatchEvent(new Event("change", {bubbles: true}));
    };
    set(1, "7");
    set(4, "plan");
    set(5, "these");
    part(".skill input").click();
    made.element.querySelector("form").requestSubmit();
    await new Promise((resolve) => setTimeout(resolve));
    const next = () => {
      const other = composer.makeComposer({draw: async (it) => sent.push(it), upload: null});
      document.querySelector("main").replaceChildren(other.element);
      other.update(given);
      return other;
    };
    next().element.querySelector("form").requestSubmit();
    await new Promise((resolve) => setTimeout(resolve));
    made.begun({input: {prompt: "another"}});
    const kept = part("#prompt").value;
    made.begun(sent[0]);
    const after = [part("#prompt").value, next().element.querySelector("#prompt").value];
    sessionStorage.clear();
    return [sent, kept, after];
    """
    )
    given = {
        "input": {"prompt": "a red apple"},
        "context": {"profile": "sketch", "max_rounds": 7, "review": "plan", "skills": ["counting"]},
    }
    assert run(page, script, OPTIONS) == [[given, given], "a red apple", ["", ""]]


def snapshot(**fields: Any) -> dict[str, Any]:
    thread = {"thread_id": "t", "continues": True, "status": "running", "question": None, "spent": {}, "because": ""}
    return {**thread, "state": {"trajectory_id": "x", "request": {"prompt": "a red apple"}, "attempts": []}, **fields}


def test_a_snapshot_that_is_late_takes_nothing_back(page: Page) -> None:
    script = FOLD + "return live.standing(views.at(-1), given2);"
    late = snapshot()
    late["state"] |= {"round": 1, "best": None, "usage": {"images": 1}, "requirements": [], "plan": {"prompts": []}}
    view = run(page, script.replace("of given)", "of given[0])").replace("given2", "given[1]"), [FIRST_ROUND, late])
    state = view["state"]
    assert (state["round"], state["best"], state["usage"]) == (2, "1.1", {"images": 1})
    assert [it.get("score") for it in state["attempts"]] == [0.5, None]
    assert state["requirements"] == REQUIREMENTS
    assert [it["id"] for it in state["proposals"]] == ["2.1", "2.2"]
    assert state["experiences"][0]["text"] == "Say red first."

    # One of a run that rests is the truth, whatever was told on the way.
    rests = snapshot(status="done", because="every requirement is met")
    rests["state"] |= {"round": 1, "best": None}
    view = run(page, script.replace("of given)", "of given[0])").replace("given2", "given[1]"), [FIRST_ROUND, rests])
    assert (view["state"]["attempts"], view["state"]["round"], view["live"]["running"]) == ([], 1, False)
    assert view["because"] == "every requirement is met"


def test_a_follow_up_is_shown_at_once(page: Page) -> None:
    script = """
    let view = live.standing(live.emptyView("t"), given);
    view = live.begun(view, "make it green");
    view = live.happened(view, {event: "custom", data: {event: "heard", message: "make it green", rounds: 1}});
    const heard = view.state.request;
    view = live.happened(view, {event: "custom", data: {event: "amended", prompt: "a green apple"}});
    return [heard, view.state.request, view.state.since];
    """
    done = snapshot(status="done")
    heard, amended, since = run(page, script, done)
    assert heard == {"prompt": "a red apple", "said": ["a red apple", "make it green"]}
    assert (amended["prompt"], since) == ("a green apple", 1)


def test_what_went_wrong_is_kept_until_the_next_run(page: Page) -> None:
    script = """
    let view = live.begun(live.emptyView("t"), "a dragon");
    const error = {error: "ValidationError", message: "not a size\\nFor further information visit pydantic.dev"};
    view = live.happened(view, {event: "error", data: error});
    view = live.standing(view, {...given, status: "failed"});
    const wrong = [view.status, view.live.error];
    return [wrong, live.begun(view).live.error, live.happened(view, {event: "custom", data: {event: "of tomorrow"}}) === view];
    """
    assert run(page, script, snapshot()) == [["failed", "not a size"], None, True]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"stop_reason": None}, [{"input": None}, "Go on"]),
        ({"stop_reason": "satisfied"}, None),
        ({"stop_reason": "max_rounds", "round": 5, "since": 2}, [{"input": {}, "context": {"max_rounds": 6}}, "Go on, 3 more rounds"]),
        (
            {"stop_reason": "budget", "result": {"limit": "max_images"}},
            [{"input": {}, "context": {"max_images": 8}}, "Go on, up to 8 images"],
        ),
        (
            {"stop_reason": "budget", "result": {"limit": "max_cost"}},
            [{"input": {}, "context": {"max_cost": 1.0}}, "Go on, up to $1.00"],
        ),
    ],
)  # fmt: skip
def test_how_a_run_that_rests_can_go_on(page: Page, fields: dict[str, Any], expected: Any) -> None:
    options = {"max_rounds": 3, "max_images": 4, "max_cost": 0.5}
    view = {"status": "stopped", "continues": True, "state": {"options": options, "round": 3, **fields}}
    script = "const it = actions.furtherOf(given); return it && [it.given, it.words];"
    assert run(page, script, view) == expected
    assert run(page, script, {**view, "continues": False}) is None


def test_events_are_read_however_they_are_cut(page: Page) -> None:
    text = (
        ': heartbeat\r\n\r\nevent: custom\r\ndata: {"a":\r\ndata: 1}\r\nid: 7-0\r\n\r\n'
        'event: values\ndata: {"é": "ü"}\n\ndata: 3\n\nevent: cut\ndata: {"no": "end"}\n'
    )
    script = """
    const read = (size) => {
      const feed = stream.makeParser();
      const found = [];
      for (let at = 0; at < given.length; at += size) found.push(...feed(given.slice(at, at + size)));
      return found;
    };
    return [1, 2, 3, 7, 1000].map(read);
    """
    expected = [
        {"event": "custom", "id": "7-0", "data": {"a": 1}},
        {"event": "values", "id": "", "data": {"é": "ü"}},
        {"event": "message", "id": "", "data": 3},
    ]
    assert run(page, script, text) == [expected] * 5


FAKE: Final = """
const frame = (id) => `event: custom\\ndata: ${id}\\nid: ${id}\\n\\n`;
/** A response of these frames, that then ends, breaks or falls silent. */
const response = (ids, end = "ends", run = "") => new Response(new ReadableStream({
  start(sink) {
    for (const id of ids) sink.enqueue(new TextEncoder().encode(frame(id)));
    if (end === "breaks") setTimeout(() => sink.error(new TypeError("network")), 10);
    if (end === "ends") sink.close();
  },
}), {headers: run ? {"Content-Location": `/threads/t/runs/${run}`} : {}});
const calls = [];
const told = {
  event: (event) => calls.push(`event ${event.data}`),
  standing: (thread) => calls.push(`standing ${thread.status}`),
  connection: (state) => calls.push(state),
};
const signal = new AbortController().signal;
"""


def test_a_broken_stream_is_joined_again_where_it_broke(page: Page) -> None:
    script = (
        FAKE
        + """
    const states = ["running", "done"];
    await stream.follow({
      begin: async () => response([1, 2], "breaks", "r1"),
      runOf: async () => "r1",
      join: async (run, last) => (calls.push(`join ${run} ${last}`), response(last === "2" ? [3] : [4])),
      standing: async () => ({status: states.shift()}),
    }, told, signal);
    return calls;
    """
    )
    assert run(page, script) == [
        "open", "event 1", "event 2", "again", "join r1 2", "open", "event 3", "standing running", "open",
        "join r1 3", "open", "event 4", "standing done", "open",
    ]  # fmt: skip


def test_a_server_that_is_away_is_asked_until_it_is_back_and_another_run_is_joined_from_its_beginning(
    page: Page,
) -> None:
    script = (
        FAKE
        + """
    let away = 2;
    await stream.follow({
      begin: null,
      runOf: async () => { if (away-- > 0) throw Object.assign(new Error("away"), {status: 0}); return "r2"; },
      join: async (run, last) => (calls.push(`join ${run} [${last}]`), response([1])),
      standing: async () => ({status: "waiting"}),
    }, told, signal);
    return calls;
    """
    )
    assert run(page, script) == ["again", "again", "join r2 []", "open", "event 1", "standing waiting", "open"]


def test_a_request_whose_answer_was_lost_is_not_sent_twice(page: Page) -> None:
    script = (
        FAKE
        + """
    const lost = Object.assign(new Error("cannot be reached"), {status: 0});
    let begins = 0;
    const server = (found) => ({
      begin: async () => { begins += 1; throw lost; },
      runOf: async () => found,
      join: async (run, last) => (calls.push(`join ${run}`), response([1])),
      standing: async () => ({status: "done"}),
    });
    await stream.follow(server("r1"), told, signal);
    const words = await stream.follow(server(null), told, signal).catch((error) => error.message);
    return [calls, begins, words];
    """
    )
    calls, begins, words = run(page, script)
    assert calls == ["join r1", "open", "event 1", "standing done", "open"]
    assert (begins, words) == (2, "cannot be reached")


@pytest.mark.parametrize("status", [400, 401, 404, 409, 422, 429, 503])
def test_what_is_refused_at_the_beginning_is_told_and_not_asked_again(page: Page, status: int) -> None:
    script = (
        FAKE
        + """
    const refused = Object.assign(new Error("refused"), {status: given});
    const server = {begin: async () => { calls.push("begin"); throw refused; }, runOf: async () => "r9"};
    const error = await stream.follow(server, told, signal).catch((it) => it);
    return [calls, error.status];
    """
    )
    assert run(page, script, status) == [["begin"], status]


def test_a_silent_stream_counts_as_broken(page: Page) -> None:
    script = (
        FAKE
        + """
    const read = [];
    try {
      for await (const event of stream.eventsOf(response([1], "silent"), 50)) read.push(event.data);
    } catch (error) {
      return [read, error.message];
    }
    """
    )
    assert run(page, script) == [[1], "the stream is silent"]


def test_nobody_looks_any_more(page: Page) -> None:
    script = (
        FAKE
        + """
    const gone = new AbortController();
    const following = stream.follow({
      begin: null, runOf: async () => "r1", join: async () => response([1]), standing: async () => ({status: "running"}),
    }, told, gone.signal);
    setTimeout(() => gone.abort(), 50);
    await following;
    const many = calls.length;
    await new Promise((resolve) => setTimeout(resolve, 500));
    return calls.length === many;
    """
    )
    assert run(page, script) is True


def test_what_people_and_models_wrote_is_only_ever_text(page: Page) -> None:
    events = [
        custom("started", prompt=HOSTILE, profile=HOSTILE, seed=1, width=256, height=256, max_rounds=2, candidates=1,
               estimate=None, warnings=[HOSTILE]),
        custom("requirements", requirements=[{**REQUIREMENTS[0], "question": HOSTILE, "kind": HOSTILE}]),
        custom("plan", skills=[{"name": HOSTILE, "files": []}], reason=HOSTILE, prompts=[HOSTILE]),
        custom("round", round=1, attempts=["1.1"]),
        custom("not_drawn", attempt="1.1", round=1, candidate="a", error=HOSTILE),
        custom("refined", round=1, diagnosis=HOSTILE, actions=["rewrite"], prompts=[f"{HOSTILE} more"]),
        custom("round", round=2, attempts=["2.1"]),
        custom("experience", round=1, text=HOSTILE, source="model"),
        {"event": "error", "id": "", "data": {"message": HOSTILE}},
    ]  # fmt: skip
    script = (
        FOLD
        + """
    const shown = run.makeRun({});
    document.querySelector("main").replaceChildren(shown.element);
    for (const view of views) shown.update(view);
    shown.update(live.failed(views.at(-1), given.at(-1).data.message));
    await new Promise((resolve) => setTimeout(resolve, 100));
    const made = document.querySelectorAll("main b:not(.caption b, .score b), main img[src=x]").length;
    const times = document.querySelector("main").textContent.split("<b>bold</b>").length - 1;
    shown.close();
    return [made, window.hacked ?? null, times];
    """
    )
    made, hacked, times = run(page, script, events)
    assert (made, hacked) == (0, None)
    assert times >= 8
