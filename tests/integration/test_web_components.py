"""The parts of the page in a real headless Chromium, under the page's own policy, fed with data of a made-up run."""

from __future__ import annotations

import io
import json
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from typing import Any, Final
from urllib.parse import parse_qs, urlparse

import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image, ImageDraw
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from gems.app.web.page import HEADERS, read_files
from gems.core.answers import plan_answer, round_answer

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")

PARTS: Final = ["checklist", "diff", "plot", "compare", "gallery", "review", "login"]
HOSTILE: Final = '<img src=x onerror="window.hacked=1"><b>bold</b>'
PAGE: Final = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Parts</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="stylesheet" href="static/style.css"><link rel="stylesheet" href="static/components.css"></head>
<body><header><h1 class="unseen">Parts</h1></header><main></main></body></html>"""
LOAD: Final = """async (names) => {
  window.parts = {};
  for (const name of names) Object.assign(window, await import(`/gems/static/${name}.js`));
  window.put = (id, part, view) => {
    part.element.id = id;
    document.querySelector("main").append(part.element);
    window.parts[id] = part;
    part.update(view);
  };
}"""
PHONE: Final = {"viewport": {"width": 360, "height": 700}, "has_touch": True, "is_mobile": True}
SHAPES: Final = {"a" * 64: (96, 96), "b" * 64: (96, 64), "c" * 64: (64, 96), "d" * 64: (96, 96)}


def picture(side: tuple[int, int], colour: str) -> bytes:
    image = Image.new("RGB", side, colour)
    ImageDraw.Draw(image).rectangle((4, 4, side[0] - 5, side[1] - 5), outline="black", width=2)
    content = io.BytesIO()
    image.save(content, "PNG")
    return content.getvalue()


PICTURES: Final = {
    name: picture(side, colour)
    for (name, side), colour in zip(SHAPES.items(), ("red", "blue", "gold", "green"), strict=True)
}


@dataclass
class Served:
    """What the little server answers with, and what it was asked."""

    address: str = ""
    runs: list[dict[str, Any]] = field(default_factory=list)
    broken: bool = False
    asked: list[dict[str, str]] = field(default_factory=list)


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    served, files = Served(), read_files()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            url = urlparse(self.path)
            name = url.path.rpartition("/")[2]
            if url.path == "/gems/":
                self.reply(200, "text/html; charset=utf-8", PAGE.encode())
            elif url.path.startswith("/gems/static/") and name in files:
                self.reply(200, files[name].content_type, files[name].plain.content)
            elif url.path.startswith("/gems/images/") and name in PICTURES:
                self.reply(200, "image/png", PICTURES[name])
            elif url.path == "/gems/runs":
                self.tell_runs({key: values[0] for key, values in parse_qs(url.query).items()})
            else:
                self.tell(404, {"error": "there is no such thing"})

        def do_POST(self) -> None:
            token = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["token"]
            known = token == "right"
            self.tell(200 if known else 401, {"owner": "anna", "tokens": True} if known else {"error": "no"})

        def tell_runs(self, query: dict[str, str]) -> None:
            served.asked.append(query)
            if served.broken:
                self.tell(500, {"error": "the index cannot be read"})
                return
            found = [run for run in served.runs if query.get("search", "").lower() in run["prompt"].lower()]
            first, most = int(query["offset"]), int(query["limit"])
            self.tell(200, {"runs": found[first : first + most], "more": len(found) > first + most})

        def tell(self, status: int, answer: dict[str, Any]) -> None:
            self.reply(status, "application/json", json.dumps(answer).encode())

        def reply(self, status: int, content_type: str, content: bytes) -> None:
            self.send_response(status)
            for name, value in {**HEADERS, "Content-Type": content_type, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

    class Server(ThreadingHTTPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        served.address = f"http://127.0.0.1:{listening.server_port}/gems/"
        yield served
        listening.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@dataclass
class Opened:
    """A page, and what has gone wrong in it: a breach of the policy too."""

    page: Page
    wrong: list[str]


Open = Callable[[Mapping[str, Any]], Opened]


@pytest.fixture(scope="module")
def opened(browser: Browser, server: Served) -> Open:
    """From a way to look at it to the page with the styles and the parts' modules: loaded once each."""
    pages: dict[str, Opened] = {}

    def open_page(look: Mapping[str, Any]) -> Opened:
        context = browser.new_context(**{"viewport": {"width": 1000, "height": 800}, "locale": "en-GB", **look})
        opened = Opened(context.new_page(), [])
        opened.page.set_default_timeout(10_000)

        def heard(message: ConsoleMessage) -> None:
            if message.type == "error" and "Failed to load resource" not in message.text:
                opened.wrong.append(message.text)

        opened.page.on("console", heard)
        opened.page.on("pageerror", lambda error: opened.wrong.append(str(error)))
        opened.page.goto(server.address)
        opened.page.evaluate(LOAD, PARTS)
        return opened

    def open_once(look: Mapping[str, Any]) -> Opened:
        name = repr(look)
        if name not in pages:
            pages[name] = open_page(look)
        return pages[name]

    return open_once


@pytest.fixture
def look(request: pytest.FixtureRequest) -> dict[str, Any]:
    """How the page is looked at; a test may ask for another."""
    return getattr(request, "param", {})


@pytest.fixture
def page(opened: Open, server: Served, look: dict[str, Any]) -> Iterator[Page]:
    """An empty page, for parts to be put on."""
    server.runs, server.broken, server.asked = [a_run(number) for number in range(30)], False, []
    now = opened(look)
    now.wrong.clear()
    now.page.evaluate("() => { document.querySelector('main').replaceChildren(); scrollTo(0, 0); }")
    yield now.page
    assert now.wrong == []


def verdict(name: str, evidence: str = "", confidence: float = 0.9) -> dict[str, Any]:
    return {"verdict": name, "evidence": evidence, "confidence": confidence}


def attempt(name: str, **fields: Any) -> dict[str, Any]:
    number = int(name.split(".")[0])
    return {"id": name, "round": number, "action": "rewrite", "seed": 6 + number, "parent": None, **fields}


def a_state() -> dict[str, Any]:
    """Two rounds of two: the second's first picture is the best, and its second was not drawn."""
    requirements = [
        {"id": "r1", "question": "Are there apples?", "kind": "object", "depends_on": []},
        {"id": "r2", "question": "Is there a vase?", "kind": "object", "depends_on": []},
        {"id": "r3", "question": "Are the apples red?", "kind": "attribute", "depends_on": ["r1"]},
        {"id": "r4", "question": "Are they dark red?", "kind": "attribute", "depends_on": ["r3"]},
        {"id": "r5", "question": f"Left of the vase {HOSTILE}?", "kind": "spatial", "depends_on": ["r1", "r2"]},
    ]
    first = {
        "r1": verdict("met", "two apples"), "r2": verdict("unmet", HOSTILE, 0.62), "r3": verdict("met"),
        "r4": verdict("unknown", "too small"), "r5": verdict("skipped", "r2 is not met", 0.0),
    }  # fmt: skip
    second = {
        **first,
        "r2": verdict("met", "a blue vase"),
        "r5": verdict("unmet", "right of it"),
        "r3": verdict("unmet"),
    }
    third = {**second, "r5": verdict("met", "They clearly are", 1.0), "r3": verdict("met"), "r4": verdict("met")}
    return {
        "request": {"prompt": "red apples left of a vase"},
        "options": {"width": 96, "height": 96, "review": "round", "max_rounds": 4},
        "requirements": requirements,
        "round": 2,
        "best": "2.1",
        "attempts": [
            attempt("1.1", prompt="red apples and a vase", artifact="a" * 64, verdicts=first, score=0.4),
            attempt("1.2", prompt="apples", artifact="b" * 64, verdicts=second, score=0.4),
            attempt("2.1", prompt="red apples left of a blue vase", artifact="c" * 64, verdicts=third, score=1.0),
            attempt("2.2", prompt="apples", failure="outage", error="the server was away"),
        ],
        "rulings": [{"attempt": "2.1", "requirement": "r5", "verdict": "met", "note": "They clearly are"}],
    }


def a_view(**fields: Any) -> dict[str, Any]:
    live = {"step": {}, "drawn": {}, "running": False, "error": None, "connection": "open"}
    return {
        "thread": "t", "continues": True, "status": "running", "state": a_state(), "question": None,
        "spent": None, "because": "", "chosen": None, "live": live, **fields,
    }  # fmt: skip


def a_plan() -> dict[str, Any]:
    state = a_state()
    value = {
        "kind": "plan", "request": state["request"]["prompt"], "skills": ["spatial-layout"], "reason": HOSTILE,
        "prompts": ["red apples and a vase", "apples"], "requirements": state["requirements"],
    }  # fmt: skip
    form = plan_answer([it["id"] for it in state["requirements"]])
    question = {"id": "p1", "value": value, "response_schema": form.model_json_schema()}
    return a_view(status="waiting", question=question, state={**state, "attempts": [], "best": None})


def a_round() -> dict[str, Any]:
    state = a_state()
    shown = [it for it in state["attempts"] if it["id"] != "1.2"]
    value = {
        "kind": "round", "round": 2, "request": state["request"]["prompt"], "requirements": state["requirements"],
        "attempts": shown, "best": "1.1",
    }  # fmt: skip
    form = round_answer(["1.1", "1.2", "2.1"], [it["id"] for it in state["requirements"]])
    question = {"id": "q1", "value": value, "response_schema": form.model_json_schema()}
    return a_view(status="waiting", question=question)


def a_run(number: int) -> dict[str, Any]:
    """The first was made on the command line, the second has lost its picture, the third never had one."""
    best = {1: "0" * 64, 2: None}.get(number, "a" * 64)
    return {
        "thread_id": f"thread {number}", "prompt": f"prompt {number} {HOSTILE}", "profile": "sketch",
        "status": "failed" if number == 2 else "done", "stop_reason": "failed" if number == 2 else "satisfied",
        "score": None if number == 2 else 0.996, "rounds": 1, "best": best,
        "started": 1_700_000_000.0, "updated": 1_700_000_000.0 - number, "continues": number != 0,
    }  # fmt: skip


def put(page: Page, name: str, make: str, view: Any) -> None:
    page.evaluate(f"(view) => put({name!r}, {make}, view)", view)


def update(page: Page, name: str, view: Any) -> None:
    page.evaluate("([name, view]) => parts[name].update(view)", [name, view])


def put_review(page: Page, view: dict[str, Any]) -> None:
    """`answered` is what was sent; it is refused with `refusal`, where that is set."""
    page.evaluate("() => { window.answered = []; window.refusal = null; }")
    answer = "async (said) => { answered.push(said); if (refusal) throw new Error(refusal); }"
    put(page, "review", f"makeReview({{answer: {answer}}})", view)


def put_all(page: Page, *, waiting: dict[str, Any]) -> None:
    view = a_view()
    put(page, "checklist", "makeChecklist()", view)
    for number, it in enumerate(view["state"]["attempts"]):
        put(page, f"diff{number}", "makeDiff()", {"state": view["state"], "attempt": it})
    put(page, "plot", "makePlot({choose() {}})", view)
    put(page, "compare", "makeCompare()", view)
    put_review(page, waiting)
    put(page, "gallery", "makeGallery()", {"shown": True})
    put(page, "login", "makeLogin({entered() {}})", {"shown": True})
    expect(page.locator(".gx-card").first).to_be_visible()


# The diff


def pieces(page: Page, before: str, after: str) -> list[dict[str, str]]:
    return page.evaluate("([before, after]) => diffWords(before, after)", [before, after])


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("red apples and a vase", "red apples left of a blue vase"),
        ("", "something"),
        ("something", ""),
        ("same", "same"),
        ("  two  spaces, here.\n", "two spaces here?\nand a line"),
        ("un café à Zürich — 日本語の文", "un thé à Zürich – 日本語"),
        ("a b c d e f g h", "h g f e d c b a"),
        ("x " * 1500, "y " * 1500),
    ],
)
def test_the_pieces_of_a_diff_make_up_both_texts(page: Page, before: str, after: str) -> None:
    found = pieces(page, before, after)
    assert "".join(it["text"] for it in found if it["kind"] != "added") == before
    assert "".join(it["text"] for it in found if it["kind"] != "removed") == after
    assert all(it["text"] for it in found)


def test_a_diff_is_by_words_and_as_small_as_can_be(page: Page) -> None:
    assert pieces(page, "red apples and a vase", "red apples left of a blue vase") == [
        {"kind": "same", "text": "red apples"},
        {"kind": "removed", "text": " and"},
        {"kind": "added", "text": " left of"},
        {"kind": "same", "text": " a"},
        {"kind": "added", "text": " blue"},
        {"kind": "same", "text": " vase"},
    ]
    assert [it["kind"] for it in pieces(page, "same", "same")] == ["same"]


def test_a_lone_shared_word_does_not_break_up_a_rewritten_stretch(page: Page) -> None:
    found = pieces(page, "one two three with four five six", "uno dos tres with cuatro cinco seis")
    assert [it["kind"] for it in found] == ["removed", "added"]


def test_texts_too_long_to_compare_are_shown_as_they_are(page: Page) -> None:
    found = pieces(page, "same " + "x " * 2500, "same " + "y " * 2500)
    assert [it["kind"] for it in found] == ["removed", "added"]


@pytest.mark.parametrize(
    ("changed", "note", "text"),
    [
        ({}, "Changed from 1a: 3 words added, 1 word removed",
         "red apples removed: and; added: left of; a added: blue; vase"),
        ({"prompt": "red apples and a vase"}, "The same prompt as 1a, another seed: 8", "red apples and a vase"),
        ({"action": "edit", "parent": "1.2", "prompt": "make it blue"}, "Edit of 1b:", "make it blue"),
        ({"round": 1, "prompt": HOSTILE}, "The first prompt", HOSTILE),
    ],
)  # fmt: skip
def test_the_change_of_a_prompt_is_told_in_words_too(page: Page, changed: dict[str, Any], note: str, text: str) -> None:
    state = a_state()
    put(page, "diff", "makeDiff()", {"state": state, "attempt": {**state["attempts"][2], **changed}})
    expect(page.locator(".gx-diff-note")).to_have_text(note)
    expect(page.locator(".gx-diff-text")).to_have_text(text)


# The checklist


def test_the_checklist_shows_verdicts_dependencies_rulings_and_what_changed(page: Page) -> None:
    put(page, "checklist", "makeChecklist()", a_view())
    rows = page.locator(".gx-check-item")
    questions = [it.split("?")[0] for it in rows.locator(".gx-check-question").all_text_contents()]
    assert questions[:4] == ["Are there apples", "Are the apples red", "Are they dark red", "Is there a vase"]
    assert rows.evaluate_all("(all) => all.map((it) => it.dataset.depth)") == ["0", "1", "2", "0", "0"]
    expect(page.get_by_role("status")).to_have_text("5 of 5 met by 2a, the best so far; 3 changed since 1a.")
    expect(page.get_by_role("button", name="met, ruled by you Left of the vase")).to_contain_text("was skipped in 1a")
    expect(rows.nth(3)).to_contain_text("was unmet in 1a")
    expect(rows.nth(0)).not_to_contain_text("was")


def test_another_attempt_can_be_looked_at_and_none_at_all(page: Page) -> None:
    put(page, "checklist", "makeChecklist()", a_view(chosen="1.1"))
    marks = page.locator(".gx-check-list .gx-mark")
    names = "(all) => all.map((it) => it.getAttribute('aria-label'))"
    assert marks.evaluate_all(names) == ["met", "met", "unknown", "unmet", "skipped"]
    expect(page.get_by_role("status")).to_have_text("2 of 5 met by 1a.")
    update(page, "checklist", a_view(state={**a_state(), "attempts": [], "best": None}))
    assert marks.evaluate_all(names) == ["not looked at yet"] * 5
    update(page, "checklist", a_view(state={}))
    expect(page.get_by_role("status")).to_have_text("The requirements are not known yet.")


def test_evidence_shows_on_hover_on_focus_and_for_good_when_pressed(page: Page) -> None:
    put(page, "checklist", "makeChecklist()", a_view(chosen="1.1"))
    row = page.locator(".gx-check-item").nth(3)
    button, seen = row.get_by_role("button"), row.locator(".gx-check-seen")
    expect(seen).to_be_hidden()
    button.hover()
    expect(seen).to_be_visible()
    expect(seen).to_contain_text(f"{HOSTILE}62% surer2")
    seen.hover()  # The pointer may go there.
    expect(seen).to_be_visible()
    page.mouse.move(0, 0)
    expect(seen).to_be_hidden()
    page.locator(".gx-check-item button").nth(2).focus()
    page.keyboard.press("Tab")
    expect(button).to_be_focused()
    expect(seen).to_be_visible()
    expect(button).to_have_accessible_description(f"{HOSTILE} 62% sure r2")
    page.keyboard.press("Escape")
    expect(seen).to_be_hidden()
    page.keyboard.press("Enter")
    expect(button).to_have_attribute("aria-expanded", "true")
    page.keyboard.press("Tab")
    expect(seen).to_be_visible()
    button.click()
    page.mouse.move(0, 0)
    expect(seen).to_be_hidden()


@pytest.mark.parametrize("look", [PHONE], indirect=True)
def test_evidence_opens_in_its_place_by_a_tap(page: Page, look: dict[str, Any]) -> None:
    put(page, "checklist", "makeChecklist()", a_view(chosen="1.1"))
    row = page.locator(".gx-check-item").nth(3)
    before = row.bounding_box()["height"]
    row.get_by_role("button").tap()
    expect(row.locator(".gx-check-seen")).to_be_visible()
    assert row.bounding_box()["height"] > before + 20
    row.get_by_role("button").tap()
    expect(row.locator(".gx-check-seen")).to_be_hidden()


def test_rows_can_be_looked_through_with_the_pointer(page: Page) -> None:
    put(page, "checklist", "makeChecklist()", a_view(chosen="1.1"))
    rows = page.locator(".gx-check-item")
    for place in range(5):
        box = rows.nth(place).bounding_box()
        page.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + box["height"] / 2)
        seen = rows.nth(place).locator(".gx-check-seen")
        expect(seen).to_be_visible()
        assert seen.bounding_box()["x"] > box["x"] + box["width"] * 0.3
        expect(page.locator(".gx-check-seen:visible")).to_have_count(1)


def test_a_requirement_ticks_in_its_place(page: Page) -> None:
    view = a_view(chosen="1.1")
    put(page, "checklist", "makeChecklist()", view)
    button = page.locator(".gx-check-item button").nth(3)
    button.focus()
    page.evaluate("() => { window.kept = document.activeElement; }")
    view["state"]["attempts"][0]["verdicts"]["r2"] = verdict("met", "a vase after all")
    update(page, "checklist", view)
    expect(page.get_by_role("status")).to_have_text("3 of 5 met by 1a.")
    expect(button.get_by_role("img")).to_have_accessible_name("met")
    assert page.evaluate("() => document.activeElement === kept")


# The plot


def dots(page: Page) -> list[tuple[float, float]]:
    """Their middles, in pixels of the screen, in the order of their attempts."""
    middles = """(all) => all.map((it) => it.getBoundingClientRect()).map((it) => [it.x + it.width / 2, it.y + it.height / 2])"""
    return [(x, y) for x, y in page.locator(".gx-dot-point").evaluate_all(middles)]


def test_the_plot_places_each_attempt_and_tells_it_in_words(page: Page) -> None:
    put(page, "plot", "makePlot({choose() {}})", a_view())
    (x1, y1), (x2, y2), (x3, y3) = dots(page)
    assert x1 < x2 < x3
    assert y1 == pytest.approx(y2, abs=0.5)
    assert y3 < y1 - 60
    top, bottom = (page.locator(".gx-plot-grid line").nth(place).bounding_box()["y"] for place in (2, 0))
    assert (bottom - y1) / (bottom - top) == pytest.approx(0.4, abs=0.02)
    assert y3 == pytest.approx(top, abs=1)
    expect(page.get_by_role("group", name="Score by round")).to_be_visible()
    expect(page.locator(".gx-plot-words")).to_have_text(
        "3 pictures in 2 rounds; at best 100% met, by 2a. Top scores: round 1 40%, round 2 100%. 1 drawing failed."
    )
    line = page.locator(".gx-plot-line").get_attribute("d")
    assert [letter for letter in line if letter.isalpha()] == ["M", "H", "V", "H"]


def test_dots_are_chosen_by_mouse_and_by_keyboard(page: Page) -> None:
    page.evaluate("() => { window.chosen = []; }")
    put(page, "plot", "makePlot({choose(id) { chosen.push(id); }})", a_view())
    best = page.get_by_role("button", name="2a, round 2: 100% met, seed 8, the best")
    expect(best).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("Tab")
    expect(best).to_be_focused()
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_role("button", name="1b, round 1: 40% met, seed 7")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Home")
    page.keyboard.press("Space")
    best.click()
    assert page.evaluate("() => chosen") == ["1.2", "1.1", "2.1"]
    update(page, "plot", a_view(chosen="1.1"))
    expect(page.get_by_role("button", name="1a")).to_have_attribute("aria-pressed", "true")
    expect(best).to_have_attribute("aria-pressed", "false")


def test_a_focused_dot_keeps_the_focus_when_a_round_is_added(page: Page) -> None:
    view = a_view()
    put(page, "plot", "makePlot({choose() {}})", view)
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowLeft")
    view["state"]["attempts"].append(attempt("3.1", prompt="x", artifact="d" * 64, verdicts={}, score=0.6))
    update(page, "plot", view)
    expect(page.locator(".gx-dot")).to_have_count(4)
    expect(page.get_by_role("button", name="1b")).to_be_focused()
    assert page.locator(".gx-dot[tabindex='0']").count() == 1


@pytest.mark.parametrize("look", [PHONE], indirect=True)
def test_the_plot_fits_a_phone_and_a_hundred_rounds(page: Page, look: dict[str, Any]) -> None:
    view = a_view()
    view["state"]["attempts"] = [
        attempt(f"{number}.{place}", score=number / 100, verdicts={}, artifact="a" * 64, prompt="x")
        for number in range(1, 101)
        for place in (1, 2)
    ]
    put(page, "plot", "makePlot({choose() {}})", view)
    assert page.locator(".gx-dot").count() == 200
    places = dots(page)
    assert min(x for x, _ in places) >= 0
    assert max(x for x, _ in places) <= 360
    numbers = [it.bounding_box() for it in page.locator(".gx-plot-grid text[y='204']").all()]
    assert len(numbers) > 5
    assert all(one["x"] + one["width"] < other["x"] for one, other in pairwise(numbers))


# The comparison


def share(page: Page) -> float:
    """How much of the frame shows the left picture."""
    line, frame = page.locator(".gx-wipe-line").bounding_box(), page.locator(".gx-frame").bounding_box()
    return (line["x"] + line["width"] / 2 - frame["x"]) / frame["width"]


def test_two_pictures_slide_by_keyboard_and_mouse(page: Page) -> None:
    put(page, "compare", "makeCompare()", a_view())
    slider = page.get_by_role("slider", name="Slide between 1a and 2a")
    expect(page.locator(".gx-fact-left")).to_have_text("1a: round 1, 40% met, seed 7")
    expect(page.locator(".gx-fact-right")).to_have_text("2a: round 2, 100% met, seed 8, the best")
    assert share(page) == pytest.approx(0.5, abs=0.01)
    slider.focus()
    for _ in range(10):
        page.keyboard.press("ArrowRight")
    assert share(page) == pytest.approx(0.6, abs=0.01)
    expect(slider).to_have_attribute("aria-valuetext", "60% 1a, 40% 2a")
    page.keyboard.press("End")
    assert share(page) == pytest.approx(1, abs=0.01)
    frame = page.locator(".gx-frame").bounding_box()
    page.mouse.move(frame["x"] + frame["width"] - 2, frame["y"] + 30)
    page.mouse.down()
    page.mouse.move(frame["x"] + frame["width"] * 0.25, frame["y"] + 60, steps=5)
    page.mouse.up()
    assert share(page) == pytest.approx(0.25, abs=0.02)
    clip = page.locator(".gx-half-left").evaluate("(it) => getComputedStyle(it).clipPath")
    assert "75%" in clip or "calc" in clip


@pytest.mark.parametrize("look", [PHONE], indirect=True)
def test_two_pictures_slide_by_touch(page: Page, look: dict[str, Any]) -> None:
    put(page, "compare", "makeCompare()", a_view())
    page.locator(".gx-stage").scroll_into_view_if_needed()
    frame = page.locator(".gx-frame").bounding_box()
    page.touchscreen.tap(frame["x"] + frame["width"] * 0.8, frame["y"] + frame["height"] * 0.3)
    assert share(page) == pytest.approx(0.8, abs=0.03)


def test_any_two_can_be_picked_and_stay_picked(page: Page) -> None:
    view = a_view()
    put(page, "compare", "makeCompare()", view)
    options = page.get_by_label("Left picture").locator("option").all_text_contents()
    assert options == ["1a, 40%", "1b, 40%", "2a, 100%, best"]
    page.get_by_label("Left picture").select_option("1.2")
    page.get_by_role("button", name="Swap the pictures").click()
    view["live"]["drawn"] = {"3.1": "d" * 64}
    view["state"]["proposals"] = [attempt("3.1", prompt="next")]
    update(page, "compare", view)
    expect(page.get_by_label("Left picture")).to_have_value("2.1")
    expect(page.get_by_label("Right picture")).to_have_value("1.2")
    view["state"]["best"] = "1.2"
    update(page, "compare", view)
    options = page.get_by_label("Left picture").locator("option").all_text_contents()
    assert options == ["1a, 40%", "1b, 40%, best", "2a, 100%", "3a"]
    page.get_by_label("Right picture").select_option("3.1")
    expect(page.locator(".gx-fact-right")).to_have_text("3a: round 3, not judged yet, seed 9")
    expect(page.locator(".gx-half-right")).to_have_attribute("src", f"images/{'d' * 64}?side=1024")


def test_pictures_of_different_shapes_both_fit(page: Page) -> None:
    put(page, "compare", "makeCompare()", a_view())
    page.get_by_label("Left picture").select_option("1.2")
    page.wait_for_function("() => [...document.querySelectorAll('.gx-half')].every((it) => it.naturalWidth)")
    frame = page.locator(".gx-frame").bounding_box()
    assert frame["width"] / frame["height"] == pytest.approx(96 / 64, abs=0.02)
    fits = page.locator(".gx-half").evaluate_all("(all) => all.map((it) => getComputedStyle(it).objectFit)")
    assert fits == ["contain", "contain"]


def test_one_picture_cannot_be_compared(page: Page) -> None:
    state = a_state()
    put(page, "compare", "makeCompare()", a_view(state={**state, "attempts": state["attempts"][:1]}))
    expect(page.get_by_text("There is one picture yet; two can be compared.")).to_be_visible()
    expect(page.get_by_role("slider")).to_have_count(0)
    update(page, "compare", a_view())
    expect(page.get_by_role("slider")).to_have_count(1)


# The gallery


def test_the_gallery_shows_threads_and_reads_on(page: Page, server: Served) -> None:
    put(page, "gallery", "makeGallery()", {"shown": True})
    cards = page.locator(".gx-card")
    expect(cards).to_have_count(24)
    expect(page.get_by_role("status")).to_have_text("24 threads, and more")
    expect(cards.nth(0)).to_have_attribute("href", "#/t/thread%200")
    expect(cards.nth(0)).to_contain_text(f"prompt 0 {HOSTILE}")
    expect(cards.nth(0)).to_contain_text("99% met satisfied")
    expect(cards.nth(0).get_by_text("from the command line")).to_be_visible()
    expect(cards.nth(3).get_by_text("from the command line")).to_be_hidden()
    expect(cards.nth(0).locator("img")).to_be_visible()
    expect(cards.nth(1).get_by_text("no picture")).to_be_visible()
    expect(cards.nth(2).get_by_text("no picture")).to_be_visible()
    more = page.get_by_role("button", name="More")
    more.focus()
    page.keyboard.press("Enter")
    expect(cards).to_have_count(30)
    expect(more).to_be_hidden()
    expect(cards.nth(24)).to_be_focused()
    assert [it["offset"] for it in server.asked] == ["0", "24"]


def test_a_search_is_sent_when_the_typing_rests(page: Page, server: Served) -> None:
    put(page, "gallery", "makeGallery()", {"shown": True})
    expect(page.locator(".gx-card")).to_have_count(24)
    page.get_by_role("searchbox", name="Search the prompts").press_sequentially("prompt 29")
    expect(page.locator(".gx-card")).to_have_count(1)
    expect(page.get_by_role("status")).to_have_text("1 thread with “prompt 29”")
    assert [it.get("search", "") for it in server.asked] == ["", "prompt 29"]
    page.get_by_role("searchbox").fill("zebra")
    expect(page.get_by_role("status")).to_have_text("No prompt has “zebra” in it.")
    expect(page.locator(".gx-card")).to_have_count(0)


def test_a_gallery_that_cannot_be_read_says_so_and_tries_again(page: Page, server: Served) -> None:
    server.broken = True
    put(page, "gallery", "makeGallery()", {"shown": True})
    expect(page.get_by_role("alert")).to_have_text("the index cannot be read")
    server.broken = False
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".gx-card")).to_have_count(24)
    expect(page.locator(".gx-error")).to_be_empty()


def test_an_empty_gallery_says_so_and_fills_when_it_is_shown_again(page: Page, server: Served) -> None:
    runs, server.runs = server.runs, []
    put(page, "gallery", "makeGallery()", {"shown": True})
    expect(page.get_by_role("status")).to_have_text("Nothing has been drawn yet.")
    server.runs = runs[:2]
    update(page, "gallery", {"shown": True})
    assert len(server.asked) == 1
    update(page, "gallery", {"shown": False})
    update(page, "gallery", {"shown": True})
    expect(page.locator(".gx-card")).to_have_count(2)


def test_an_overtaken_answer_is_dropped(page: Page) -> None:
    runs = "({search}) => new Promise((done) => { waiting[search] = () => done({runs: [made(search)], more: false}); })"
    page.evaluate(
        "(run) => { window.waiting = {}; window.made = (search) => ({...run, prompt: `found by ${search}`}); }",
        a_run(3),
    )
    put(page, "gallery", f"makeGallery({{runs: {runs}}})", {"shown": True})
    page.get_by_role("searchbox").fill("late")
    page.wait_for_function("() => waiting.late")
    page.get_by_role("searchbox").fill("last")
    page.wait_for_function("() => waiting.last")
    page.evaluate("() => { waiting.last(); waiting.late(); }")
    expect(page.locator(".gx-card-prompt")).to_have_text("found by last")


# The review


def sent(page: Page) -> list[dict[str, Any]]:
    return page.evaluate("() => answered")


def test_a_plan_is_approved_as_it_is(page: Page) -> None:
    put_review(page, a_plan())
    expect(page.get_by_role("heading", name="Is this what you meant?")).to_be_visible()
    expect(page.locator(".gx-plan")).to_contain_text(HOSTILE)
    page.get_by_role("button", name="Draw this").click()
    assert sent(page) == [{"action": "approve"}]
    expect(page.get_by_role("status")).to_have_text("Sent.")


def test_a_lone_prompt_has_one_name(page: Page) -> None:
    view = a_plan()
    view["question"]["value"]["prompts"] = ["apples"]
    put_review(page, view)
    expect(page.get_by_label("Prompt to draw")).to_have_value("apples")
    assert page.get_by_text("Prompt", exact=False).count() == 1


def test_a_plan_is_changed_by_keyboard_alone(page: Page) -> None:
    view = a_plan()
    put_review(page, view)
    page.get_by_label("Prompt 1b").focus()
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("green apples")
    page.get_by_role("checkbox", name="Are they dark red?").focus()
    page.keyboard.press("Space")
    page.get_by_label("Check this too").focus()
    page.keyboard.type("Is it sunny?")
    page.keyboard.press("Enter")
    page.keyboard.type("Is it late?")
    page.keyboard.press("Enter")
    expect(page.get_by_label("Check this too")).to_be_focused()
    page.get_by_role("button", name="Remove: Is it sunny?").press("Enter")
    page.get_by_label("Check this too").fill("Not yet added?")
    page.get_by_label("A word to the model").fill(" keep it calm ")
    page.get_by_role("checkbox", name="Ask me again").press("Space")
    page.get_by_role("button", name="Draw this").press("Enter")
    [answer] = sent(page)
    assert answer == {
        "action": "approve", "prompts": ["red apples and a vase", "green apples"], "drop": ["r4"],
        "add": ["Is it late?", "Not yet added?"], "feedback": "keep it calm", "ask_again": False,
    }  # fmt: skip
    plan_answer([it["id"] for it in view["state"]["requirements"]]).model_validate(answer)


def test_a_prompt_goes_back_to_what_it_was(page: Page) -> None:
    put_review(page, a_plan())
    page.get_by_label("Prompt 1a").fill("something else")
    page.get_by_role("button", name="As it was").first.click()
    expect(page.get_by_label("Prompt 1a")).to_have_value("red apples and a vase")
    page.get_by_role("button", name="Stop here").click()
    assert sent(page) == [{"action": "stop"}]


def test_a_plan_without_requirements_is_not_sent(page: Page) -> None:
    put_review(page, a_plan())
    for box in page.locator(".gx-keep input").all():
        box.uncheck()
    page.get_by_role("button", name="Draw this").click()
    expect(page.get_by_role("alert")).to_have_text("Every requirement is dropped: keep one, or add one.")
    assert sent(page) == []
    page.get_by_label("Check this too").fill("Is it sunny?")
    page.get_by_role("button", name="Draw this").click()
    assert sent(page)[0]["add"] == ["Is it sunny?"]


def test_a_round_is_overruled(page: Page) -> None:
    view = a_round()
    put_review(page, view)
    expect(page.get_by_label("As the loop finds (now 2a)")).to_be_checked()
    expect(page.get_by_text("Not drawn: the server was away")).to_be_visible()
    expect(page.get_by_label("2b is the best")).to_have_count(0)
    page.get_by_label("1a is the best").check()
    page.locator(".gx-rulings summary").first.click()
    vase = page.get_by_role("button", name="it is: “Is there a vase?” on 1a")
    vase.click()
    page.get_by_label("Why, of “Is there a vase?” on 1a").fill("behind the apples")
    apples = page.get_by_role("button", name="it is not: “Are there apples?” on 1a")
    apples.click()
    expect(page.get_by_text("2 ruled by you")).to_be_visible()
    apples.click()
    page.get_by_role("button", name="it is not: “Are the apples red?” on 1a").click()
    page.get_by_role("button", name="Start from 2a's prompt").click()
    expect(page.get_by_label("Draw this next")).to_be_focused()
    page.keyboard.press("End")
    page.keyboard.type(", at dusk")
    page.get_by_role("button", name="Go on").click()
    [answer] = sent(page)
    assert answer == {
        "action": "approve", "best": "1.1", "prompt": "red apples left of a blue vase, at dusk",
        "overrule": [
            {"attempt": "1.1", "requirement": "r3", "verdict": "unmet"},
            {"attempt": "1.1", "requirement": "r2", "verdict": "met", "note": "behind the apples"},
        ],
    }  # fmt: skip
    round_answer(["1.1", "1.2", "2.1"], [it["id"] for it in view["state"]["requirements"]]).model_validate(answer)


@pytest.mark.parametrize(
    ("button", "action"), [("Go on", "approve"), ("Take the best as it is", "accept"), ("Stop for now", "stop")]
)
def test_a_round_is_answered_with_one_press(page: Page, button: str, action: str) -> None:
    put_review(page, a_round())
    page.get_by_role("button", name=button).click()
    page.get_by_role("button", name=button).click(force=True)  # It is on its way: once is enough.
    assert sent(page) == [{"action": action}]


def test_nothing_is_accepted_where_nothing_was_judged(page: Page) -> None:
    view = a_round()
    view["question"]["value"]["attempts"] = view["question"]["value"]["attempts"][2:]
    put_review(page, view)
    expect(page.get_by_role("button", name="Take the best as it is")).to_have_count(0)
    expect(page.get_by_role("button", name="Go on")).to_be_visible()


def test_a_refused_answer_leaves_the_form_as_it_is(page: Page) -> None:
    put_review(page, a_round())
    page.evaluate("() => { refusal = 'answer: prompt: too long'; }")
    page.get_by_label("Draw this next").fill("my own words")
    page.get_by_role("button", name="Go on").click()
    expect(page.get_by_role("alert")).to_have_text("answer: prompt: too long")
    expect(page.get_by_label("Draw this next")).to_have_value("my own words")
    page.evaluate("() => { refusal = null; }")
    page.get_by_role("button", name="Go on").click()
    expect(page.locator(".gx-error")).to_be_empty()
    assert [it["prompt"] for it in sent(page)] == ["my own words", "my own words"]


def test_a_question_that_comes_back_finds_its_form_and_the_error(page: Page) -> None:
    view = a_round()
    put_review(page, view)
    page.get_by_label("A word to the model").fill("brighter")
    page.get_by_role("button", name="Go on").click()
    update(page, "review", {**view, "question": None, "status": "running"})
    expect(page.locator("#review")).to_be_hidden()
    update(page, "review", {**view, "live": {**view["live"], "error": "the run did not take it"}})
    expect(page.get_by_role("alert")).to_have_text("the run did not take it")
    expect(page.get_by_label("A word to the model")).to_have_value("brighter")
    page.get_by_role("button", name="Go on").click()
    assert len(sent(page)) == 2


def test_another_question_has_another_form(page: Page) -> None:
    view = a_round()
    put_review(page, view)
    page.get_by_label("A word to the model").fill("brighter")
    page.get_by_role("button", name="Go on").click()
    view["question"]["id"] = "q2"
    update(page, "review", view)
    expect(page.get_by_label("A word to the model")).to_have_value("")
    page.evaluate("() => parts.review.focus()")
    expect(page.get_by_role("heading", name="Round 2: what do you make of it?")).to_be_focused()


# Signing in


def test_a_wrong_token_is_said_to_be_wrong_and_a_right_one_goes_in(page: Page) -> None:
    page.evaluate("() => { window.entered = []; }")
    put(page, "login", "makeLogin({entered(session) { entered.push(session); }})", {"shown": True})
    field = page.get_by_label("Token")
    expect(field).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("Enter the token first.")
    page.keyboard.type("wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("That token is wrong: this server does not know it.")
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(field).to_be_focused()
    page.keyboard.type("right")  # The wrong one is selected: it is typed over.
    page.get_by_role("button", name="Show").click()
    expect(field).to_have_attribute("type", "text")
    field.press("Enter")
    page.wait_for_function("() => entered.length")
    assert page.evaluate("() => entered") == [{"owner": "anna", "tokens": True}]
    expect(field).to_have_value("")
    expect(page.locator(".gx-error")).to_be_empty()


# All of them


LOOKS: Final = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "phone": PHONE,
    "dark phone": {"viewport": {"width": 360, "height": 700}, "color_scheme": "dark"},
}


def violations(page: Page) -> list[str]:
    found = Axe().run(page).response["violations"]
    return [f"{it['id']}: {node['target']}: {node['failureSummary']}" for it in found for node in it["nodes"]]


@pytest.mark.parametrize(
    ("look", "waiting"),
    list(zip(LOOKS.values(), (a_plan, a_round, a_plan, a_round), strict=True)),
    ids=LOOKS,
    indirect=["look"],
)
def test_axe_finds_nothing_and_nothing_is_too_wide(page: Page, look: dict[str, Any], waiting: Any) -> None:
    put_all(page, waiting=waiting())
    for row in page.locator(".gx-check-row, .gx-rulings summary").all():
        row.click()
    for button in page.locator(".gx-rule:visible").all()[:2]:
        button.click()
    page.get_by_role("button", name="Sign in").click()
    assert violations(page) == []
    assert page.evaluate("() => document.documentElement.scrollWidth - innerWidth") <= 0


def test_axe_would_find_something(page: Page) -> None:
    put_review(page, a_plan())
    page.evaluate("() => document.querySelector('label[for=gx-feedback]').remove()")
    assert any(it.startswith("label:") for it in violations(page))


def test_an_update_with_nothing_new_touches_nothing(page: Page, server: Served) -> None:
    server.runs = server.runs[3:]  # A picture that is lost is noticed when it is not expected.
    put_all(page, waiting=a_round())
    page.wait_for_function("() => [...document.querySelectorAll('.gx-half')].every((it) => it.naturalWidth)")
    view = a_view()
    page.evaluate(
        """() => {
          window.touched = [];
          new MutationObserver((seen) => touched.push(...seen.map((it) => `${it.type} ${it.attributeName} ${it.target.outerHTML}`)))
            .observe(document.querySelector("main"), {subtree: true, childList: true, attributes: true, characterData: true});
        }"""
    )
    for name in ("checklist", "plot", "compare"):
        update(page, name, deepcopy(view))
    update(page, "diff2", {"state": a_state(), "attempt": a_state()["attempts"][2]})
    update(page, "review", a_round())
    update(page, "gallery", {"shown": True})
    update(page, "login", {"shown": True})
    assert page.evaluate("() => new Promise((done) => setTimeout(() => done(touched), 50))") == []


def test_what_people_and_models_write_is_text(page: Page) -> None:
    put_all(page, waiting=a_plan())
    assert page.locator("main b").count() == 0
    assert page.locator("main img[src='x']").count() == 0
    assert page.evaluate("() => window.hacked") is None


def test_the_focus_is_seen_wherever_it_goes(page: Page) -> None:
    put_all(page, waiting=a_round())
    page.locator(".gx-check-row").first.focus()
    seen = set()
    for _ in range(90):
        page.keyboard.press("Tab")
        name, shown = page.evaluate(
            """() => {
              const it = document.activeElement;
              const stage = it.closest(".gx-stage");
              const styled = getComputedStyle(stage || it);
              const ring = it.querySelector(":scope > .gx-dot-ring");
              const drawn = ring ? getComputedStyle(ring).stroke !== "rgba(0, 0, 0, 0)" : styled.outlineStyle !== "none";
              return [it === document.body ? "end" : `${it.tagName} ${it.className.baseVal ?? it.className} ${it.id}`, drawn];
            }"""
        )
        if name == "end":
            break
        assert shown, name
        seen.add(name.split()[0])
    assert name == "end"
    assert {"BUTTON", "g", "SELECT", "INPUT", "TEXTAREA", "SUMMARY", "A"} <= seen


@pytest.mark.parametrize("look", [{"reduced_motion": "reduce"}], indirect=True)
def test_nothing_moves_where_motion_is_not_wanted(page: Page, look: dict[str, Any]) -> None:
    view = a_view(chosen="1.1")
    put_all(page, waiting=a_plan())
    update(page, "checklist", view)
    seconds = page.evaluate(
        """() => [...document.querySelectorAll("*")].flatMap((it) => {
          const {animationName, animationDuration, transitionDuration} = getComputedStyle(it);
          const all = animationName === "none" ? transitionDuration : `${animationDuration}, ${transitionDuration}`;
          return all.split(", ").map(parseFloat);
        })"""
    )
    assert max(seconds) < 0.001
