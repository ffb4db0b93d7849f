"""The loop against model servers over HTTP, whose every answer takes a fixed time: calls, tokens, and what we add."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from langchain_core.runnables import RunnableConfig

from gems.core.profiles import DrawingOptions, Profile
from gems.core.settings import Settings
from gems.core.state import GemsState
from gems.evals.bench_loop import ROUNDS, SIDE, make_picture
from gems.evals.figures import Figure, Target
from gems.evals.loopback.log import Entry, Log
from gems.evals.loopback.process import LoopbackProcess
from gems.graph import GemsGraph, open_graph

PROMPTS: Final = 16
REPEATS: Final = 3

REFERENCE_TOKENS: Final = 87_600
REFERENCE_SECONDS: Final = 10.1
"""What the paper's reference implementation takes for one prompt on such a server; it makes 60 calls and sends 64 images."""
MOST_CALLS: Final = 16
TOKEN_SHARE: Final = 0.15
TIME_SHARE: Final = 0.7
BUSY_SHARE: Final = 0.95


class Course(NamedTuple):
    """What is run: the side of the pictures in pixels, the rounds of each prompt, and what the servers' answers take."""

    side: int = SIDE
    rounds: int = ROUNDS
    chat_seconds: float = 0.3
    image_seconds: float = 0.6

    @property
    def floor(self) -> float:
        """The seconds of one prompt that are the servers'; decomposer and compressor are asked beside others."""
        chats = 2 + self.rounds + (self.rounds - 1)
        return chats * self.chat_seconds + self.rounds * self.image_seconds


class Run(NamedTuple):
    """One measured stretch: the seconds it took, and what the server was asked in it."""

    seconds: float
    log: Log


class Bill(NamedTuple):
    """What a run asked of the chat model. `again` is how many of the calls ask about a picture a second time."""

    calls: int
    again: int
    text_tokens: int
    image_tokens: int
    images: int


def bill_of(log: Log) -> Bill:
    """Count what a log holds."""
    entries = log.chat
    seen: set[str] = set()
    again = 0
    for entry in entries:
        again += entry.repair or (entry.task == "judge" and entry.picture in seen)
        seen |= {entry.picture} if entry.task == "judge" else set()
    return Bill(
        calls=len(entries),
        again=again,
        text_tokens=sum(entry.text_tokens + entry.output_tokens for entry in entries),
        image_tokens=sum(entry.image_tokens for entry in entries),
        images=sum(entry.images for entry in entries),
    )


def measure_wire(course: Course = Course(), prompts: int = PROMPTS, repeats: int = REPEATS) -> list[Figure]:  # noqa: B008
    """One prompt alone, a few times over, then several at once; each on servers of its own, in a process of their own."""
    with tempfile.TemporaryDirectory(prefix="gems-bench-") as folder:
        picture = Path(folder) / "picture.png"
        picture.write_bytes(make_picture(course.side))
        alone = [asyncio.run(measure(course, picture, 1)) for _ in range(repeats)]
        together = asyncio.run(measure(course, picture, prompts))
    return [*_alone_figures(course, alone), *_together_figures(course, together, prompts)]


async def measure(course: Course, picture: Path, prompts: int) -> Run:
    """So many prompts at once, after one round of another that loads libraries and opens connections.

    Raises:
        RuntimeError: a prompt did not run its course.
    """
    arguments = ["--brain", "never", "--picture", str(picture)]
    arguments += [f"--chat-seconds={course.chat_seconds}", f"--image-seconds={course.image_seconds}"]
    with LoopbackProcess(*arguments) as servers:
        async with open_wire(servers.url, course.side) as graph:
            await draw(graph, "warm-up", 1)
            before = len(servers.log().entries)
            started = time.perf_counter()
            states = await asyncio.gather(
                *(draw(graph, f"prompt {number}", course.rounds) for number in range(prompts))
            )
            seconds = time.perf_counter() - started
        if any(state["stop_reason"] != "max_rounds" for state in states):
            raise RuntimeError(f"not every prompt ran its course: {[state['stop_reason'] for state in states]}")
        return Run(seconds, Log(servers.log().entries[before:]))


@asynccontextmanager
async def open_wire(url: str, side: int) -> AsyncIterator[GemsGraph]:
    """The graph as `open_graph` gives it, on the servers at a URL and in a temporary home."""
    with tempfile.TemporaryDirectory(prefix="gems-bench-") as home:
        profile = Profile(
            mllm="openai:loopback",
            mllm_base_url=f"{url}/v1",
            images="openai:loopback-image",
            images_base_url=f"{url}/v1",
            drawing=DrawingOptions(server="vllm-omni"),
            size=f"{side}x{side}",
        )
        settings = Settings(home=Path(home), profile="wire", profiles={"wire": profile})
        async with open_graph(settings) as graph:
            yield graph


async def draw(graph: GemsGraph, thread: str, rounds: int) -> GemsState:
    """Run one prompt, and answer the state it ends in."""
    config = RunnableConfig(configurable={"thread_id": thread})
    context: Any = {"max_rounds": rounds, "seed": 1, "candidates": 1, "lessons": False}
    await graph.ainvoke({"prompt": f"a red dog, {thread}"}, config, context=context)  # type: ignore[call-overload]
    state: Any = (await graph.aget_state(config)).values
    return state  # type: ignore[no-any-return]


def _alone_figures(course: Course, runs: Sequence[Run]) -> list[Figure]:
    bill = bill_of(runs[0].log)
    clocks = sorted(run.seconds for run in runs)
    seconds = statistics.median(clocks)
    own = 1000 * (seconds - course.floor) / course.rounds
    return [
        Figure("calls", bill.calls, "", Target("at most", MOST_CALLS), _by_task(runs[0].log.chat)),
        Figure("calls that ask again", bill.again),
        Figure("text tokens", bill.text_tokens, note="read and written"),
        Figure("images sent", bill.images),
        Figure(
            "image tokens, as a part of the reference's",
            bill.image_tokens / REFERENCE_TOKENS,
            "",
            Target("at most", TOKEN_SHARE),
            f"{bill.image_tokens:,} of {REFERENCE_TOKENS:,}",
        ),
        Figure(
            "time, as a part of the reference's",
            seconds / REFERENCE_SECONDS,
            "",
            Target("at most", TIME_SHARE),
            f"{seconds:.2f} s of {REFERENCE_SECONDS} s; least {clocks[0]:.2f}, most {clocks[-1]:.2f} s",
        ),
        Figure("of it our own, a round", own, "ms", note=f"{course.floor:.1f} s are the servers'"),
    ]


def _together_figures(course: Course, run: Run, prompts: int) -> list[Figure]:
    log = run.log
    floor = prompts * course.rounds * course.image_seconds
    return [
        Figure(
            f"drawing worker busy, {prompts} prompts at once",
            log.busy_share,
            "",
            Target("at least", BUSY_SHARE),
            f"{len(log.drawn)} drawings in {log.drawing_seconds:.1f} s",
        ),
        Figure(f"time, {prompts} prompts at once", run.seconds, "s", note=f"{floor:.1f} s are the drawings'"),
    ]


def _by_task(entries: Sequence[Entry]) -> str:
    tasks = dict.fromkeys(entry.task or "other" for entry in entries)
    return ", ".join(f"{task} {sum((it.task or 'other') == task for it in entries)}" for task in tasks)
