"""The HTML report: self-contained, safe, whole, and true to the state."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Awaitable, Callable
from html import unescape
from typing import Literal

import pytest
from PIL import Image

from gems.app.prompt_diff import Piece, compare_prompts
from gems.app.report import render_report
from gems.app.score_plot import plot_scores
from gems.core.state import Attempt, GemsState
from gems.memory import FileArtifacts

THREAD = "20261122-143012-k7mq"


@pytest.fixture
async def state(finished_run: Callable[[int, int], Awaitable[GemsState]]) -> GemsState:
    """Three rounds of two, one and one images, and a refused drawing; the last one is right."""
    return await finished_run(1500, 1000)


def text_of(page: str) -> str:
    body = re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", body)).split())


async def test_the_page_loads_nothing_and_runs_nothing(state: GemsState, artifacts: FileArtifacts) -> None:
    page = await render_report(THREAD, state, artifacts)
    assert not re.search(r"https?://|<script|<link|@import|url\(", page)
    assert "default-src 'none'" in page
    sources = re.findall(r'src="([^"]{0,40})', page)
    assert sources
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)


async def test_pictures_are_scaled_jpegs(state: GemsState, artifacts: FileArtifacts) -> None:
    page = await render_report(THREAD, state, artifacts)
    sizes = []
    for content in re.findall(r"base64,([^\"]+)", page):
        with Image.open(io.BytesIO(base64.b64decode(content))) as image:
            assert image.format == "JPEG"
            sizes.append(image.size)
    # The best, a strip of three, and one for each of four drawn attempts.
    assert sorted(sizes) == sorted([(1024, 683)] + [(168, 112)] * 3 + [(640, 427)] * 4)


async def test_everything_of_the_run_is_on_the_page(state: GemsState, artifacts: FileArtifacts) -> None:
    text = text_of(await render_report(THREAD, state, artifacts, {"images": "sketch"}))
    expected = [
        THREAD,
        state["request"]["prompt"],
        "Satisfied",
        "481516234",
        "the image model refused this prompt",
        "poster/SKILL.md:4",
        "18,234 in, 1,911 out",
        "5 rounds of 2 candidates",
        "spatial-layout, text-rendering",
        state["thought"],
        *(requirement["question"] for requirement in state["requirements"]),
        *(experience["text"] for experience in state["experiences"]),
        *(verdict["evidence"] for attempt in state["attempts"] for verdict in attempt.get("verdicts", {}).values()),
    ]
    assert [part for part in expected if part not in text] == []


async def test_what_the_user_said_and_ruled_is_on_the_page(state: GemsState, artifacts: FileArtifacts) -> None:
    state["request"]["said"] = ["apples and a vase", "three apples & a sign"]
    state["rulings"] = [{"attempt": "3.1", "requirement": "r2", "verdict": "met", "note": "left of it"}]
    state["remarks"] = [{"round": 0, "text": "no cartoons"}, {"round": 2, "text": "warmer light"}]
    state["lessons"] = [{"id": "k7mq3x", "kind": "count", "text": "say the number twice", "round": 2}]
    state["digest"] = {"until": 1, "text": "counts are hard"}
    state["options"]["max_tokens"] = 9000
    page = await render_report(THREAD, state, artifacts)
    text = text_of(page)
    assert "apples and a vase three apples & a sign" in text
    assert "you, of the plan no cartoons" in text
    assert re.search(r"Round 2 .*You said warmer light Round 3", text)
    assert "Round 2 say the number twice k7mq3x" in text
    assert "What rounds 1 to 1 taught, folded counts are hard" in text
    assert "9,000 tokens" in text
    # On the best image, in its round, and in the table: nowhere else.
    assert text.count("ruled by you") == 3
    assert len(re.findall(r'class="tick met ruled"', page)) == 4
    assert "but for those marked as yours" in text


@pytest.mark.parametrize(
    ("reason", "stamp"), [("accepted", "✓ Accepted You took"), ("stopped", "◌ Stopped You stopped")]
)
async def test_what_a_person_decided_is_stamped(
    state: GemsState, artifacts: FileArtifacts, reason: Literal["accepted", "stopped"], stamp: str
) -> None:
    state["stop_reason"] = reason
    assert stamp in text_of(await render_report(THREAD, state, artifacts))


async def test_html_in_prompts_and_evidence_stays_text(state: GemsState, artifacts: FileArtifacts) -> None:
    evil = "<script>alert('x')</script><img src=x onerror=alert(1)>\" onload=\"alert(2)"
    state["request"]["prompt"] = evil
    state["experiences"][0]["text"] = evil
    state["warnings"] = [evil]
    state["request"]["said"] = [evil, evil]
    state["remarks"] = [{"round": number, "text": evil} for number in range(3)]
    state["lessons"] = [{"id": evil, "kind": "count", "text": evil, "round": 1}]
    state["digest"] = {"until": 1, "text": evil}
    for attempt in state["attempts"]:
        attempt["prompt"] = f"{evil} {attempt['id']}"
        for verdict in attempt.get("verdicts", {}).values():
            verdict["evidence"] = evil
    page = await render_report(THREAD, state, artifacts)
    assert "<script" not in page
    assert "src=x" not in re.sub(r"&lt;.*?&gt;", "", page)
    assert not re.search(r'<[^>]*\sonload="', page)
    assert page.count("&lt;script&gt;") > 10


async def test_the_change_of_the_prompt_is_marked(state: GemsState, artifacts: FileArtifacts) -> None:
    page = await render_report(THREAD, state, artifacts)
    assert re.search(r"<ins>[^<]*Exactly three", page)
    assert re.search(r"<del>[^<]*three", page)
    assert "The same prompt with another seed." in page


async def test_a_lost_image_leaves_the_rest_of_the_page(state: GemsState, artifacts: FileArtifacts) -> None:
    lost = artifacts.path(state["attempts"][2]["artifact"])
    lost.write_bytes(b"not what its name says")
    page = await render_report(THREAD, state, artifacts)
    assert "is damaged" in text_of(page)
    assert page.count("base64,") == 6


@pytest.mark.parametrize("kept", [("request",), ("request", "options"), ("request", "options", "plan", "requirements")])
async def test_a_run_that_has_just_begun_has_a_page(
    state: GemsState, artifacts: FileArtifacts, kept: tuple[str, ...]
) -> None:
    begun: GemsState = {name: value for name, value in state.items() if name in kept}  # type: ignore[assignment]
    text = text_of(await render_report(THREAD, begun, artifacts))
    assert "Not finished" in text
    assert state["request"]["prompt"] in text


async def test_the_table_shows_each_round_and_the_final_verdict(state: GemsState, artifacts: FileArtifacts) -> None:
    page = await render_report(THREAD, state, artifacts)
    row = re.search(r"<tr><td class=\"q\">Does the sign.*?</tr>", page, re.DOTALL)
    assert row
    assert re.findall(r'class="tick (\w+)"', row[0]) == ["unmet", "unknown", "met", "met"]


def attempt(number: int, score: float | None) -> Attempt:
    made = Attempt(id=f"{number}.1", round=number, action="rewrite", prompt="p", seed=1, parent=None)
    if score is not None:
        made["score"] = score
    return made


def test_one_judged_round_makes_no_plot() -> None:
    assert plot_scores([attempt(1, 0.5), attempt(1, 0.7), attempt(2, None)]) is None


def test_the_line_of_the_plot_never_falls() -> None:
    plot = plot_scores([attempt(1, 0.5), attempt(1, 0.2), attempt(2, 0.25), attempt(3, 1.0)])
    assert plot is not None
    heights = [float(pair.split()[1]) for pair in plot.line[1:].split(" L")]
    assert heights == sorted(heights, reverse=True)
    assert heights[0] == heights[1]
    assert [dot.best for dot in sorted(plot.dots)] == [True, False, False, True]


def test_prompts_are_compared_word_by_word() -> None:
    assert compare_prompts("a red dog", "a big red dog") == [
        Piece("same", "a"),
        Piece("added", " big"),
        Piece("same", " red dog"),
    ]
    assert compare_prompts(None, "a dog") == [Piece("same", "a dog")]
    assert compare_prompts("", "") == []


def test_a_comparison_loses_no_character() -> None:
    before, after = "  one, two\n\nthree  ", "zero two, three!\t"
    pieces = compare_prompts(before, after)
    assert "".join(piece.text for piece in pieces if piece.kind != "added") == before
    assert "".join(piece.text for piece in pieces if piece.kind != "removed") == after


def test_prompts_of_the_greatest_length_are_shown_uncompared() -> None:
    long = "word " * 4000
    assert compare_prompts(long, long + "end") == [Piece("same", long + "end")]
