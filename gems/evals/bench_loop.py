"""The cost of the loop itself: scripted models without latency, real stores, real checkpoints."""

from __future__ import annotations

import io
import json
import sqlite3
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any, Final, NamedTuple

from langchain_core.messages import BaseMessage
from langchain_core.runnables import RunnableConfig
from PIL import Image

from gems.backends.chat.rehearsal import rehearse
from gems.backends.chat.scripted import ScriptedRole
from gems.core.messages import TaskInput
from gems.core.ports import Answer, Capabilities, Drawing, DrawRequest, Progress, R
from gems.core.profiles import BUILT_IN
from gems.core.settings import Settings
from gems.evals.figures import Figure, Target
from gems.graph import GemsGraph, OwnServices, open_graph
from gems.nodes.refiner import VIEW_SIDE

SIDE: Final = 1024
ROUNDS: Final = 5
REPEATS: Final = 5
ROUND_MS: Final = 30.0
STEP_KB: Final = 20.0
VIEW_ROUNDS: Final = (2, 5, 20, 40)
GROWTH: Final = 1.02
"""How much longer the view may be after more rounds once its lists are full: round numbers gain digits."""
_WORDS: Final = (
    "a",
    "red",
    "dog",
    "stands",
    "to",
    "the",
    "left",
    "of",
    "two",
    "blue",
    "cars",
    "under",
    "an",
    "old",
    "tree",
)
_PROMPT_WORDS: Final = 60
_EXPERIENCE_WORDS: Final = 100


class PreparedImages:
    """An image generator that answers at once with a PNG made beforehand."""

    name = "prepared"
    capabilities = Capabilities(edit=False)

    def __init__(self, png: bytes) -> None:
        """Answer every request with these PNG bytes."""
        self.png = png

    @property
    def identity(self) -> Mapping[str, Any]:
        """Its name."""
        return {"model": self.name}

    def check(self, prompt: str, width: int, height: int) -> list[str]:  # noqa: ARG002
        """It takes anything."""
        return []

    async def generate(self, request: DrawRequest, progress: Progress | None = None) -> Drawing:  # noqa: ARG002
        """The PNG."""
        return Drawing(self.png, 0.0)


def make_picture(side: int) -> bytes:
    """A square PNG that compresses as a photograph does, to about 1.5 bytes a pixel: a gradient under noise."""
    rng = Random(side)
    noise = Image.frombytes("RGB", (side, side), rng.randbytes(3 * side * side))
    gradient = Image.linear_gradient("L").resize((side, side)).convert("RGB")
    buffer = io.BytesIO()
    Image.blend(gradient, noise, 0.035).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def wordy(words: int, seed: int) -> str:
    """A text of that many words."""
    rng = Random(seed)
    return " ".join(rng.choice(_WORDS) for _ in range(words))


class TimedRole:
    """A scripted role whose own work, such as decoding what it is sent, can be told from that of the loop."""

    def __init__(self, role: ScriptedRole) -> None:
        self.role = role
        self.wall = 0.0
        self.cpu = 0.0

    async def ask(self, messages: Sequence[BaseMessage], reply_model: type[R]) -> Answer[R]:
        """The role's answer."""
        wall, cpu = time.perf_counter(), time.thread_time()
        answer = await self.role.ask(messages, reply_model)
        self.wall += time.perf_counter() - wall
        self.cpu += time.thread_time() - cpu
        return answer


def never_content() -> ScriptedRole:
    """Models that find one of three requirements unmet for ever, and write texts as long as real ones do."""

    def refine(task: TaskInput) -> dict[str, Any]:
        number = int(task.fields["round"]) + 1
        prompt = f"{wordy(_PROMPT_WORDS, number)} {number}"
        return {"diagnosis": wordy(40, number), "actions": [{"action": "rewrite", "prompt": prompt}]}

    def compress(task: TaskInput) -> dict[str, Any]:
        return {"experience": wordy(_EXPERIENCE_WORDS, int(task.fields["round"]))}

    return rehearse(["++-"], refine=refine, compress=compress)


@dataclass(frozen=True, slots=True)
class Stage:
    """A graph with memory in a home of its own, and the scripted models behind it."""

    graph: GemsGraph
    chat: TimedRole
    home: Path


@asynccontextmanager
async def open_stage(png: bytes) -> AsyncIterator[Stage]:
    """The graph as `open_graph` gives it, on scripted models and a temporary home."""
    with tempfile.TemporaryDirectory(prefix="gems-bench-") as folder:
        settings = Settings(home=Path(folder), profiles=dict(BUILT_IN))
        chat = TimedRole(never_content())
        services = OwnServices(settings, chat=chat, images=PreparedImages(png))
        async with open_graph(settings, services=services) as graph:
            yield Stage(graph, chat, settings.home)


class Lap(NamedTuple):
    """Seconds without those of the scripted models, so far or of one round: of computing, and by the clock."""

    cpu: float
    wall: float

    @classmethod
    def now(cls, chat: TimedRole) -> Lap:
        """The seconds so far."""
        return cls(time.process_time() - chat.cpu, time.perf_counter() - chat.wall)

    def since(self, before: Lap) -> Lap:
        """What has passed since then."""
        return Lap(self.cpu - before.cpu, self.wall - before.wall)


async def run_rounds(stage: Stage, rounds: int, side: int, thread: str = "bench") -> list[Lap]:
    """Run so many rounds.

    Returns:
        The seconds from each review to the next: refiner, compressor, generator, critic and review, with their checkpoints.
    """
    config = RunnableConfig(configurable={"thread_id": thread})
    context: Any = {"max_rounds": rounds, "size": f"{side}x{side}", "seed": 1, "candidates": 1, "lessons": False}
    events = stage.graph.astream({"prompt": "a red dog"}, config, context=context, stream_mode="custom")  # type: ignore[call-overload]
    reviewed = [Lap.now(stage.chat) async for event in events if event["event"] == "reviewed"]
    return [after.since(before) for before, after in pairwise(reviewed)]


async def measure_rounds(repeats: int = REPEATS, side: int = SIDE) -> list[Figure]:
    """Milliseconds a round, without and with the decoding and encoding of images.

    The target is set against the computing time of all threads of this process, LangGraph's and SQLite's work among it: the
    clock also counts what other processes take and the disk's waits, and is shown beside it. What the loop costs without its
    image work is measured on files of the same number of bytes whose pictures are small enough to be sent as they are. That
    is a little too much: the refiner is sent whole files then.
    """
    png = make_picture(side)
    # Readers of PNG stop at its end mark; what follows is only carried along.
    untouched = make_picture(VIEW_SIDE)
    untouched += bytes(max(0, len(png) - len(untouched)))
    bare, whole = await _laps(untouched, repeats, VIEW_SIDE), await _laps(png, repeats, side)
    own, total = (1000 * statistics.median(lap.cpu for lap in laps) for laps in (bare, whole))
    clocks = sorted(1000 * lap.wall for lap in bare)
    return [
        Figure("our own code", own, "ms", Target("under", ROUND_MS), f"median of {len(bare)} rounds"),
        Figure(
            "the same by the clock",
            statistics.median(clocks),
            "ms",
            note=f"least {clocks[0]:.0f}, most {clocks[-1]:.0f} ms",
        ),
        Figure("decoding, scaling, encoding images", total - own, "ms", note=f"files of {len(png) / 1e6:.1f} MB"),
    ]


async def _laps(png: bytes, repeats: int, side: int) -> list[Lap]:
    async with open_stage(png) as stage:
        await run_rounds(stage, 2, side, "warm-up")
        return [lap for repeat in range(repeats) for lap in await run_rounds(stage, ROUNDS, side, f"run {repeat}")]


class CheckpointSize(NamedTuple):
    """What a saver's file holds after a run. Sizes are in bytes."""

    steps: int
    stored: int
    file: int


def checkpoint_size(path: Path) -> CheckpointSize:
    """Steps, bytes of checkpoints and of pending writes, and the size of the file they lie in."""
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        steps, checkpoints = connection.execute(
            "SELECT COUNT(*), SUM(LENGTH(checkpoint) + LENGTH(metadata)) FROM checkpoints"
        ).fetchone()
        writes = connection.execute("SELECT SUM(LENGTH(value)) FROM writes").fetchone()[0]
    connection.close()
    return CheckpointSize(int(steps), int(checkpoints) + int(writes or 0), path.stat().st_size)


async def measure_checkpoints(sides: tuple[int, ...] = (256, SIDE)) -> list[Figure]:
    """Kilobytes of checkpoints a step, by image size."""
    figures = []
    for side in sides:
        async with open_stage(make_picture(side)) as stage:
            await run_rounds(stage, ROUNDS, side)
            size = checkpoint_size(stage.home / "checkpoints.sqlite")
        figures.append(
            Figure(
                f"a step, {side} px",
                size.file / size.steps / 1024,
                "KB",
                Target("under", STEP_KB),
                f"{size.steps} steps; without SQLite's own pages {size.stored / size.steps / 1024:.1f} KB",
            )
        )
    return figures


async def measure_view(rounds: tuple[int, ...] = VIEW_ROUNDS, side: int = SIDE) -> list[Figure]:
    """Characters and images of the refiner's view after so many rounds; the last two must not differ."""
    async with open_stage(make_picture(side)) as stage:
        await run_rounds(stage, rounds[-1] + 1, side)
        asked = {task.fields["round"]: task for task in stage.chat.role.asked("refine")}
    sizes = [len(json.dumps(asked[number].fields, ensure_ascii=False, indent=1)) for number in rounds]
    figures = [
        Figure(f"round {number}", size, "characters", note=_pictures(asked[number].images))
        for number, size in zip(rounds, sizes, strict=True)
    ]
    growth = sizes[-1] / sizes[-2]
    name = f"round {rounds[-1]} as a part of round {rounds[-2]}"
    return [*figures, Figure(name, growth, "", Target("at most", GROWTH))]


def _pictures(images: list[bytes]) -> str:
    sizes = []
    for content in images:
        with Image.open(io.BytesIO(content)) as image:
            sizes.append(f"{image.width} px")
    return f"{len(images)} images: {', '.join(sizes)}"
