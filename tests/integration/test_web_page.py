"""The page in a real headless Chromium, against a real `langgraph dev` that draws with the embedded engine."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, Route, expect, sync_playwright

ROOT: Final = Path(__file__).parents[2]
CHROMIUM: Final = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
IS_NEEDED: Final = os.environ.get("GEMS_NEED_BROWSER") == "1"
"""Whether its absence is a failure: where the tests are all that stands between the page and its users."""
SHOTS: Final = os.environ.get("GEMS_SCREENSHOTS")
"""A folder for pictures of the states that the tests pass through, to be looked at."""
START_SECONDS: Final = 120.0
RUN_MILLISECONDS: Final = 120_000
"""Patience with a busy machine, not a target."""
EASY: Final = "a red apple"
SEEDS: Final = count(1000, 1000)
"""Of long runs: what another has drawn is found again, and so soon done."""

expect.set_options(timeout=30_000)
pytestmark = pytest.mark.skipif(CHROMIUM is None and not IS_NEEDED, reason="needs Chromium: apt-get install chromium")


@dataclass
class Server:
    """A `langgraph dev` that can be killed and started again at the same address."""

    folder: Path
    port: int = 0
    process: subprocess.Popen[bytes] | None = None

    @property
    def page(self) -> str:
        return f"http://127.0.0.1:{self.port}/gems/"

    def start(self) -> None:
        if not self.port:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self.port = int(probe.getsockname()[1])
        kept = {name: value for name, value in os.environ.items() if not name.startswith("GEMS_")}
        env = {
            **kept,
            "GEMS_HOME": str(self.folder / "home"),
            "GEMS_REQUESTS_PER_MINUTE": "100000",
            "LANGSMITH_TRACING": "false",
            "LANGGRAPH_CLI_NO_ANALYTICS": "1",
            "OMP_NUM_THREADS": "1",
        }
        command = [str(Path(sys.executable).parent / "langgraph"), "dev", "--no-browser", "--no-reload"]
        with (self.folder / "server.log").open("a") as log:
            self.process = subprocess.Popen(
                [*command, "--port", str(self.port)],
                cwd=self.folder, env=env, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                start_new_session=True,
            )  # fmt: skip
        self._wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process is None or self.process.poll() is not None:
                break
            try:
                if httpx.get(f"{self.page}health", timeout=5).status_code == 200:
                    return
            except httpx.HTTPError:
                time.sleep(0.2)
        pytest.fail(f"langgraph dev did not answer: {(self.folder / 'server.log').read_text()[-3000:]}")

    def wait_for_flush(self) -> None:
        """Until what the server knows now is on its disk, which it writes every 10 seconds: a kill before forgets it."""
        now, deadline = time.time(), time.monotonic() + START_SECONDS
        while not any(it.stat().st_mtime > now for it in (self.folder / ".langgraph_api").glob("*.pckl")):
            assert time.monotonic() < deadline, "the server writes nothing"
            time.sleep(0.1)

    def forget(self) -> None:
        """What the server itself keeps, as a kill does within 10 seconds; checkpoints are elsewhere."""
        for it in (self.folder / ".langgraph_api").glob("*.pckl"):
            it.unlink()

    def kill(self, sign: signal.Signals = signal.SIGKILL) -> None:
        assert self.process is not None
        os.killpg(self.process.pid, sign)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(20)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    shutil.copy(ROOT / "langgraph.json", folder)
    server = Server(folder)
    try:
        server.start()
        yield server
    finally:
        server.kill(signal.SIGTERM)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.fail("GEMS_NEED_BROWSER is set, and there is no Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@dataclass
class Window:
    """A page that keeps what the browser complains about, and what is read aloud."""

    page: Page
    complaints: list[str] = field(default_factory=list)

    def text(self, selector: str) -> str:
        return re.sub(r"\s+", " ", self.page.locator(selector).first.inner_text()).strip()

    def rests(self, stamp: str | re.Pattern[str]) -> None:
        expect(self.page.locator(".stamp")).to_have_text(stamp, timeout=RUN_MILLISECONDS)

    def told(self) -> str:
        return " ".join(self.page.evaluate("window.told"))

    def hears(self, words: str) -> None:
        """Wait until that is read aloud. Not by `wait_for_function`: the page's policy lets nobody evaluate text."""
        for _ in range(300):
            if words in self.told():
                return
            self.page.wait_for_timeout(100)
        pytest.fail(f"{words!r} is not among {self.told()!r}")

    def is_accessible(self, state: str) -> None:
        violations = Axe().run(self.page).response["violations"]
        assert not violations, (state, [(it["id"], [node["html"] for node in it["nodes"]]) for it in violations])
        if SHOTS:
            self.page.screenshot(path=f"{SHOTS}/{state}.png", full_page=True)


LISTENER: Final = """
window.told = [];
addEventListener("DOMContentLoaded", () => {
  const news = document.getElementById("news");
  if (news) new MutationObserver(() => window.told.push(news.textContent)).observe(news, {childList: true, characterData: true, subtree: true});
});
document.addEventListener("securitypolicyviolation", (event) => console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`));
"""

Opener = Callable[..., Window]


@pytest.fixture
def window(browser: Browser, server: Server) -> Iterator[Opener]:
    """Opens the page in a browser of its own; whatever the browser complains of fails the test, but for what it allows."""
    opened: list[tuple[Window, str]] = []

    def open_window(address: str = "", allowed: str = r"$^", **options: Any) -> Window:
        context = browser.new_context(
            **{"viewport": {"width": 1200, "height": 850}, "reduced_motion": "reduce", **options}
        )
        context.add_init_script(LISTENER)
        page = context.new_page()
        window = Window(page)
        page.on("console", lambda said: said.type in ("error", "warning") and window.complaints.append(said.text))
        page.on("pageerror", lambda error: window.complaints.append(str(error)))
        opened.append((window, allowed))
        page.goto(server.page + address)
        page.locator("main h1").wait_for()
        return window

    yield open_window
    for window, allowed in opened:
        window.page.context.close()
        assert not [it for it in window.complaints if not re.search(allowed, it)]


def begin(window: Window, prompt: str, **options: str) -> None:
    """Fill in the form, and send it."""
    page = window.page
    page.get_by_label("What to draw").fill(prompt)
    page.get_by_text("Options", exact=True).click()
    for name, value in {"Size": "256x256", "Rounds": "2", "Seed": "5", **options}.items():
        knob = page.get_by_label(name)
        if name == "Ask me":
            knob.select_option(value)
        else:
            knob.fill(value)
    page.get_by_role("button", name="Draw").click()


def long_run(window: Window) -> None:
    """Begin a run that takes much longer than the test: nobody can see such a small picture's things, so it never ends."""
    options = {"Size": "1024x1024", "Rounds": "40", "Candidates": "16", "Seed": str(next(SEEDS))}
    begin(window, "seven blue cats and six red apples", **options)
    expect(window.page.locator(".stamp")).to_have_text("At work")
    expect(window.page.locator(".shot")).to_have_count(16, timeout=RUN_MILLISECONDS)


IS_WHOLE: Final = """(select) => {
  const natural = select.cloneNode(true);
  natural.style.cssText = "width: auto; max-width: none; flex: none; position: absolute";
  select.parentNode.append(natural);
  for (const it of [...natural.options]) if (!it.selected) it.remove();
  const is = natural.offsetWidth <= select.offsetWidth + 1;
  natural.remove();
  return is;
}"""


def focused(page: Page) -> Locator:
    return page.locator(":focus")


def test_a_picture_is_made_before_ones_eyes_and_then_changed(window: Opener) -> None:
    shown = window()
    page = shown.page
    shown.is_accessible("new")
    expect(page.get_by_role("button", name="Draw")).to_be_disabled()
    assert "sketch" in shown.text(".models")
    begin(shown, EASY)
    expect(page.locator("h1")).to_have_text(EASY)
    expect(page.locator(".stamp")).to_have_text("At work")
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    shown.rests("Satisfied")
    assert "#/t/" in page.url

    assert shown.text(".why") == "Every requirement is met."
    assert shown.text(".score") == "100% of the requirements met"
    assert page.title() == f"100% · {EASY} · GEMS"
    assert page.locator("link[rel=icon]").get_attribute("href").startswith("blob:")  # type: ignore[union-attr]
    expect(page.locator(".hero .gx-check-item[data-verdict=met]")).to_have_count(3)
    assert re.fullmatch(r"1 image · \d model calls · [\d,]+ tokens · [\d.]+ s", shown.text(".spent"))
    picture = page.locator(".hero figure img")
    assert picture.evaluate("it => it.complete && it.naturalWidth") == 256
    assert picture.get_attribute("alt") == f"{EASY} (picture 1a)"
    shown.hears("Done: every requirement is met.")
    for milestone in ("The run has begun.", "3 requirements to meet.", "Round 1.", "3 of 3 requirements met."):
        assert milestone in shown.told()
    shown.is_accessible("done")

    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    with Image.open(download.value.path()) as image:
        assert image.size == (256, 256)
        assert EASY in " ".join(str(value) for value in image.info.values())
    with page.context.expect_page() as report:
        page.get_by_role("link", name="Report").click()
    expect(report.value.locator("h1")).to_have_text(EASY)
    report.value.close()
    page.bring_to_front()

    page.get_by_label("Say what to change").fill("make the apple green")
    page.get_by_role("button", name="Change it").click()
    expect(page.locator("h1")).to_have_text("a green apple", timeout=RUN_MILLISECONDS)
    shown.rests(re.compile("Satisfied|Best effort"))
    assert [it.inner_text() for it in page.locator(".said li").all()] == [EASY, "make the apple green"]
    expect(page.locator(".round h3").first).to_have_text("Round 2")
    expect(page.locator(".round").first.locator("ins").first).to_contain_text("green")
    expect(page.get_by_role("region", name="Compare two pictures")).to_be_visible()
    shown.is_accessible("changed")

    # A picture that is not the best can be looked at, with its own verdicts.
    last = page.locator(".round").last
    last.get_by_role("button", name="Show picture 1a large").click()
    expect(page.locator(".hero figcaption")).to_contain_text("Chosen by you: 1a")
    page.get_by_role("button", name="Back to the best").click()
    expect(page.locator(".hero figcaption")).to_contain_text("The best so far: 2a")

    page.get_by_role("button", name="Start again").click()
    expect(page.get_by_label("What to draw")).to_have_value("a green apple")
    expect(page.get_by_label("Size")).to_have_value("256x256")

    page.get_by_role("link", name="Gallery").click()
    expect(page.locator(".gx-card")).to_have_count(1)
    assert page.title() == "Gallery · GEMS"
    shown.is_accessible("gallery")
    page.get_by_label("Search the prompts").fill("nothing like it")
    expect(page.locator(".gx-card")).to_have_count(0)
    page.get_by_label("Search the prompts").fill("green")
    page.locator(".gx-card").click()
    expect(page.locator("h1")).to_have_text("a green apple")


def test_the_plan_is_answered_with_the_keyboard_alone(window: Opener) -> None:
    shown = window()
    page = shown.page
    keys = page.keyboard
    expect(page.get_by_label("What to draw")).to_be_focused()
    keys.type(EASY)
    reach(page, lambda: page.locator("summary"))
    keys.press("Enter")
    reach(page, lambda: page.get_by_label("Size"))
    keys.type("256x256")
    reach(page, lambda: page.get_by_label("Ask me"))
    keys.type("at the plan")
    assert page.get_by_label("Ask me").input_value() == "plan"
    reach(page, lambda: page.get_by_label("What to draw"), "Shift+Tab")
    keys.press("Control+Enter")
    shown.rests("Your turn")
    assert page.title().startswith("Your turn · ")
    shown.is_accessible("asked")
    reach(page, lambda: page.get_by_label("A word to the model that chooses what changes"))
    keys.type("no shadows")
    reach(page, lambda: page.get_by_role("button", name="Draw this"))
    assert focused(page).evaluate("it => getComputedStyle(it).outlineStyle") == "solid"
    keys.press("Enter")
    shown.rests("Satisfied")
    expect(page.locator(".asking")).to_be_hidden()
    reach(page, lambda: page.locator(".gx-check-row").first)
    expect(page.locator(".gx-check-seen").first).to_be_visible()
    keys.press("Escape")
    expect(page.locator(".gx-check-seen").first).to_be_hidden()
    reach(page, lambda: page.get_by_label("Say what to change"))
    shown.hears("The run waits for your answer.")


def reach(page: Page, find: Callable[[], Locator], key: str = "Tab") -> None:
    """Press the tab key until the focus is there."""
    for _ in range(60):
        if find().evaluate("it => it === document.activeElement"):
            return
        page.keyboard.press(key)
    pytest.fail(f"{find()} is not reached by {key}")


def test_what_cannot_be_drawn_is_told_in_words_and_can_be_begun_anew(window: Opener) -> None:
    shown = window(color_scheme="dark")
    page = shown.page
    begin(shown, "a dragon")
    shown.rests("Failed")
    assert "cannot draw 'dragon'" in shown.text(".head .error")
    assert page.title().startswith("Failed · ")
    shown.hears("It went wrong: The embedded engine cannot draw 'dragon'")
    shown.is_accessible("refused")
    page.reload()
    shown.rests("Failed")
    assert "cannot draw 'dragon'" in shown.text(".head .error")
    expect(page.get_by_role("button", name="Try again")).to_be_hidden()
    page.get_by_role("button", name="Change the request").click()
    prompt = page.get_by_label("What to draw")
    expect(prompt).to_have_value("a dragon")
    expect(page.get_by_label("Rounds")).to_have_value("2")
    prompt.fill("a blue dragon")
    page.get_by_role("button", name="Draw").click()
    shown.rests("Failed")
    page.get_by_role("button", name="Change the request").click()
    expect(prompt).to_have_value("a blue dragon")
    prompt.fill(EASY)
    page.get_by_role("button", name="Draw").click()
    shown.rests("Satisfied")
    page.get_by_role("link", name="New").click()
    expect(prompt).to_have_value("")


def test_an_address_that_leads_nowhere_says_so(window: Opener) -> None:
    for address in ("#/t/nonsense", "#/t/%zz", "#/t/11111111-1111-4111-8111-111111111111"):
        shown = window(address, allowed="404|422")
        page = shown.page
        expect(page.locator("h1")).to_have_text("There is no such thread")
    shown.is_accessible("missing")
    page.get_by_role("link", name="To the gallery").click()
    expect(page.locator("h1")).to_have_text("Gallery")
    page.evaluate("location.hash = '#/what'")
    expect(page.locator(".composer")).to_be_visible()
    assert page.url.endswith("/gems/#/")


def test_a_run_is_joined_from_elsewhere_and_stopped(window: Opener) -> None:
    shown = window()
    long_run(shown)
    shown.page.reload()
    expect(shown.page.locator("h1")).to_have_text("seven blue cats and six red apples")
    expect(shown.page.locator(".stamp")).to_have_text("At work")
    expect(shown.page.locator(".shot")).to_have_count(16)
    expect(shown.page.locator(".shot .meter:visible, .shot .pick:visible").first).to_be_visible(
        timeout=RUN_MILLISECONDS
    )

    phone = window(
        "#" + shown.page.url.split("#")[1],
        color_scheme="dark",
        viewport={"width": 360, "height": 740},
        is_mobile=True,
        has_touch=True,
    )
    expect(phone.page.locator(".stamp")).to_have_text("At work")
    assert phone.page.evaluate("document.documentElement.scrollWidth") <= 360
    phone.is_accessible("phone")
    phone.page.get_by_role("button", name="Stop").tap()
    phone.rests("Stopped")
    shown.rests("Stopped")
    assert shown.page.title().startswith("Stopped · ")
    expect(shown.page.get_by_role("button", name="Go on")).to_be_visible()
    phone.is_accessible("phone-stopped")

    # It goes on from its checkpoints, and stops again.
    shown.page.get_by_role("button", name="Go on").click()
    expect(shown.page.locator(".stamp")).to_have_text("At work")
    shown.page.get_by_role("button", name="Stop").click()
    shown.rests("Stopped")
    # Long lines and unbroken words stay on a phone's page.
    phone.page.evaluate("location.hash = '#/'")
    expect(phone.page.locator(".composer")).to_be_visible()
    assert phone.page.evaluate("document.documentElement.scrollWidth") <= 360
    phone.page.get_by_text("Options", exact=True).tap()
    for name in ("Ask me", "Skills", "Models"):
        assert phone.page.get_by_label(name).evaluate(IS_WHOLE), name
    phone.is_accessible("phone-new")


@pytest.mark.long
def test_runs_wait_for_one_another_and_say_so(window: Opener) -> None:
    first = window()
    long_run(first)
    second, third = window(), window(allowed="404")  # who reloads asks for what is not there yet
    for shown in (second, third):
        begin(shown, EASY)
        expect(shown.page.locator(".why")).to_have_text("Waits for another run")
        expect(shown.page.locator(".stamp")).to_have_text("In the queue")
        assert shown.page.title() == f"Waits for another run · {EASY} · GEMS"
    second.is_accessible("queued")
    third.page.reload()
    expect(third.page.locator(".why")).to_have_text("Waits for another run")
    third.page.get_by_role("button", name="Stop").click()
    third.rests("Stopped")
    first.page.get_by_role("button", name="Stop").click()
    second.rests("Satisfied")


@pytest.mark.long
def test_a_run_goes_on_before_ones_eyes_when_the_server_was_killed(window: Opener, server: Server) -> None:
    shown = window(allowed="Failed to load resource|ERR_")
    long_run(shown)
    server.wait_for_flush()
    expect(shown.page.locator(".stamp")).to_have_text("At work")
    server.kill()
    expect(shown.page.locator(".head .warning", has_text="connection")).to_be_visible()
    shown.hears("The connection is lost; trying again.")
    shown.is_accessible("lost")
    server.start()
    expect(shown.page.locator(".head .warning", has_text="connection")).to_be_hidden(timeout=RUN_MILLISECONDS)
    expect(shown.page.locator(".stamp")).to_have_text("At work")
    before = shown.page.locator(".shot img").count()
    expect(shown.page.locator(".shot .meter:visible, .shot .pick:visible").first).to_be_visible(
        timeout=RUN_MILLISECONDS
    )
    assert shown.page.locator(".shot img").count() >= before
    shown.page.get_by_role("button", name="Stop").click()
    shown.rests("Stopped")


@pytest.mark.long
def test_a_run_that_the_server_forgot_when_it_was_killed_can_go_on(window: Opener, server: Server) -> None:
    shown = window(allowed="Failed to load resource|ERR_")
    page = shown.page
    long_run(shown)
    server.kill()
    server.forget()
    expect(page.locator(".head .warning", has_text="connection")).to_be_visible()
    server.start()
    shown.rests("Stopped")
    expect(page.locator(".why")).to_have_text("The server was restarted.")
    expect(page.locator(".head .warning", has_text="connection")).to_be_hidden()
    expect(page.locator(".head .error")).to_be_hidden()
    for section in page.locator(".run > section:visible").all():
        assert len(section.inner_text().splitlines()) > 1
    shown.is_accessible("forgotten")
    page.get_by_role("button", name="Go on").click()
    expect(page.locator(".stamp")).to_have_text("At work")
    expect(page.locator(".shot .meter:visible, .shot .pick:visible").first).to_be_visible(timeout=RUN_MILLISECONDS)
    page.get_by_role("button", name="Stop").click()
    shown.rests("Stopped")


def png(colour: str) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (90, 60), colour).save(content, "PNG")
    return content.getvalue()


def test_reference_images_are_dropped_pasted_chosen_and_taken_away(window: Opener) -> None:
    """The embedded engine takes none, so the page is told that it does; pictures go to the real server."""
    sent: list[dict[str, Any]] = []

    def tell_other(route: Route) -> None:
        answer = route.fetch().json()
        answer["profiles"][0]["references"] = 4
        route.fulfill(json=answer)

    def catch(route: Route) -> None:
        sent.append(json.loads(route.request.post_data or ""))
        route.fulfill(status=429, json={"error": "two runs at once are allowed"})

    shown = window(allowed="429|415|400")
    page = shown.page
    expect(page.get_by_role("button", name="Add reference images")).to_be_hidden()
    page.route("**/gems/options", tell_other)
    page.route("**/runs/stream", catch)
    page.reload()
    expect(page.get_by_role("button", name="Add reference images")).to_be_visible()
    drop = """([text, name, type, kind]) => {
      const bytes = Uint8Array.from(atob(text), (it) => it.charCodeAt(0));
      const data = new DataTransfer();
      data.items.add(new File([bytes], name, {type}));
      const target = document.querySelector(kind === "paste" ? "#prompt" : ".composer");
      const made = kind === "paste" ? new ClipboardEvent(kind, {clipboardData: data, bubbles: true, cancelable: true})
                                    : new DragEvent(kind, {dataTransfer: data, bubbles: true, cancelable: true});
      target.dispatchEvent(made);
    }"""

    def hand(content: bytes, name: str, kind: str, media: str = "image/png") -> None:
        import base64

        page.evaluate(drop, [base64.b64encode(content).decode(), name, media, kind])

    thumbnails = page.locator(".composer .references li:not(.sending)")
    hand(png("red"), "dropped.png", "drop")
    expect(thumbnails).to_have_count(1)
    hand(png("blue"), "pasted.png", "paste")
    expect(thumbnails).to_have_count(2)
    page.locator("input[type=file]").set_input_files(
        {"name": "chosen.png", "mimeType": "image/png", "buffer": png("green")}
    )
    expect(thumbnails).to_have_count(3)
    shown.is_accessible("references")
    page.get_by_role("button", name="Remove pasted.png").click()
    expect(thumbnails).to_have_count(2)
    hand(b"<svg/>", "drawing.svg", "drop", "image/svg+xml")
    assert "Only pictures can be references" in shown.text(".reference-area .error")
    hand(b"no picture at all", "broken.png", "drop")
    expect(page.locator(".reference-area .error")).to_contain_text("broken.png: ")
    expect(thumbnails).to_have_count(2)

    page.get_by_label("What to draw").fill(EASY)
    page.get_by_role("button", name="Draw").click()
    expect(page.locator(".head .error")).to_contain_text("Two runs at once are allowed")
    (body,) = sent
    assert body["input"]["prompt"] == EASY
    assert len(body["input"]["references"]) == 2
    assert all(re.fullmatch("[0-9a-f]{64}", it) for it in body["input"]["references"])
    assert (body["context"], body["multitask_strategy"]) == ({"profile": "sketch"}, "reject")


def test_who_is_not_known_is_asked_to_sign_in(window: Opener) -> None:
    """Tokens are the server's affair, with tests of their own; here it is told to want one."""
    known = {"is": False}

    def session(route: Route) -> None:
        if route.request.method == "POST":
            known["is"] = json.loads(route.request.post_data or "")["token"] == "right"
        if route.request.method == "DELETE":
            known["is"] = False
            route.fulfill(status=204)
        elif known["is"]:
            route.fulfill(json={"owner": "anna", "tokens": True})
        else:
            route.fulfill(status=401, json={"error": "sign in"})

    shown = window(allowed="401")
    page = shown.page
    page.route("**/gems/session", session)
    page.goto(page.url + "#/gallery")
    page.reload()
    expect(page.get_by_label("Token")).to_be_focused()
    shown.is_accessible("sign-in")
    page.get_by_label("Token").fill("wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("wrong")
    page.get_by_label("Token").fill("right")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("Gallery")
    assert shown.text("#who").startswith("anna")
    # The session expires while the gallery is open.
    page.route("**/gems/runs?*", lambda route: route.fulfill(status=401, json={"error": "sign in"}))
    page.get_by_label("Search the prompts").fill("apple")
    expect(page.get_by_label("Token")).to_be_focused()
    page.unroute("**/gems/runs?*")
    page.get_by_label("Token").fill("right")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("Gallery")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Token")).to_be_visible()
