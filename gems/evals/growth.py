"""`python -m gems.evals.growth`: what a long trajectory takes on disk, and how large the refiner's view becomes.

The models are scripted, and say as much as they may: whoever measures a real run finds less. The trajectory is stopped by
`max_rounds` and taken up again after each ten rounds, so that the files are whole when they are measured.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import click
from langchain_core.messages import BaseMessage
from langchain_core.runnables import RunnableConfig
from rich.console import Console

from gems.app.terminal import make_console
from gems.backends.chat.rehearsal import rehearse
from gems.core.errors import GemsError
from gems.core.messages import TaskInput
from gems.core.ports import Answer, Drawing, DrawRequest, Progress, R
from gems.core.profiles import BUILT_IN
from gems.core.settings import Settings
from gems.core.state import MemoryMode
from gems.evals.bench_loop import PreparedImages, checkpoint_size, make_picture, wordy
from gems.evals.figures import print_table
from gems.evals.memory import MODES
from gems.graph import OwnServices, open_graph
from gems.memory.packing import Home, home_of
from gems.memory.pruning import Wishes, plan, prune
from gems.memory.view import LONGEST
from gems.nodes.refiner import MOST_THOUGHT

REQUIREMENTS: Final = 12
PROMPT: Final = 600
"""Characters of the request, and of each prompt."""
QUESTION: Final = 80
"""Characters of a requirement's question."""
DIAGNOSIS: Final = 400
"""Characters of a refiner's diagnosis: three sentences."""
NOTE_WORDS: Final = 100
"""Words of an experience, and of the digest: no more are kept."""
SIDE: Final = 128
"""Of the pictures, in pixels."""
EVERY: Final = 10
"""Rounds between two measurements."""
THREAD: Final = RunnableConfig(configurable={"thread_id": "growth"})


class NumberedImages(PreparedImages):
    """The same picture each time, in a file that no other drawing has."""

    name = "numbered"

    async def generate(self, request: DrawRequest, progress: Progress | None = None) -> Drawing:  # noqa: ARG002
        """The PNG with the seed behind its end mark, where readers stop."""
        return Drawing(self.png + request.seed.to_bytes(8, "big"), 0.0)


class TalkativeRole:
    """Scripted models that never find everything met, and write texts as long as they are kept. The last view is noted."""

    def __init__(self) -> None:
        """Begin."""
        questions = [f"{text(QUESTION - 1, number)}?" for number in range(REQUIREMENTS)]
        # One requirement is never met.
        self._role = rehearse(
            ["+" * (REQUIREMENTS - 1) + "-"], questions, judge=_judge, refine=_refine, compress=_compress
        )
        self.view: TaskInput | None = None
        """What the refiner was shown last."""

    async def ask(self, messages: Sequence[BaseMessage], reply_model: type[R]) -> Answer[R]:
        """The role's answer; a refiner has thoughts, too."""
        answer = await self._role.ask(messages, reply_model)
        task = self._role.history.pop()
        if task.task == "refine":
            self.view = task
            answer = replace(answer, thoughts=text(MOST_THOUGHT, int(task.fields["round"])))
        return answer


def _judge(task: TaskInput) -> dict[str, Any]:
    asked = [str(item["id"]) for item in task.fields["requirements"]]
    return {
        "verdicts": [
            {
                "id": name,
                "evidence": text(LONGEST["evidence"], place),
                "verdict": "unmet" if name == f"r{REQUIREMENTS}" else "met",
                "confidence": 0.9,
            }
            for place, name in enumerate(asked)
        ]
    }


def _refine(task: TaskInput) -> dict[str, Any]:
    number, wanted = int(task.fields["round"]), int(task.fields["wanted"])
    prompts = [f"{number}.{place} {text(PROMPT, number + place)}"[:PROMPT] for place in range(wanted)]
    actions = [{"action": "rewrite", "prompt": prompt} for prompt in prompts]
    return {"diagnosis": text(DIAGNOSIS, number), "actions": actions}


def _compress(task: TaskInput) -> dict[str, Any]:
    number = int(task.fields["round"])
    return {"experience": wordy(NOTE_WORDS, number), "digest": wordy(NOTE_WORDS, -number)}


def text(length: int, seed: int) -> str:
    """A text of words, of so many characters."""
    return wordy(length, seed)[:length].rstrip().ljust(length, ".")


class Sizes(NamedTuple):
    """What a home takes. Sizes are in bytes; a file of SQLite is larger than what is stored in it."""

    checkpoints: int
    """The file."""
    stored: int
    """Checkpoints and pending writes in it."""
    journal: int
    other: int
    """All other tables."""
    artifacts: int
    images: int
    """Files of artifacts."""


class Stage(NamedTuple):
    """The trajectory after so many rounds."""

    rounds: int
    whole: Sizes
    thinned: Sizes
    """After `gems prune --keep-checkpoints last`."""
    view: int
    """Characters of the refiner's last block, as it is sent."""
    pictures: int
    """Pictures beside it."""


def stages(home: Path, rounds: int, candidates: int, png: bytes, memory: MemoryMode = "experience") -> Iterator[Stage]:
    """Run one trajectory, and measure it after each `EVERY` rounds and at the end.

    Args:
        home: An empty folder.
        rounds: Rounds in all.
        candidates: Pictures a round.
        png: What is drawn.
        memory: What the refiner reads of earlier rounds.

    Raises:
        ValueError: one round is not enough.
    """
    settings = Settings(home=home, profiles=dict(BUILT_IN))
    chat = TalkativeRole()
    for done in [*range(EVERY, rounds, EVERY), rounds]:
        asyncio.run(_run_until(settings, chat, png, done, candidates, memory))
        if chat.view is None:
            raise ValueError("one round has no refiner, and so no view: give more rounds")
        block = json.dumps(chat.view.fields, ensure_ascii=False, indent=1)
        yield Stage(done, sizes(home), _thinned(home), len(block), len(chat.view.images))


async def _run_until(
    settings: Settings, chat: TalkativeRole, png: bytes, rounds: int, candidates: int, memory: MemoryMode
) -> None:
    services = OwnServices(settings, chat=chat, images=NumberedImages(png))
    context: Any = {"max_rounds": rounds, "candidates": candidates, "seed": 1, "size": f"{SIDE}x{SIDE}"}
    context |= {"memory": memory, "lessons": False, "skills": []}
    async with open_graph(settings, services=services) as graph:
        begun = bool((await graph.aget_state(THREAD)).values)
        given = {"prompt": "" if begun else text(PROMPT, 0)}
        await graph.ainvoke(given, THREAD, context=context)  # type: ignore[call-overload]


def _thinned(home: Path) -> Sizes:
    """The sizes of a copy of the home without all checkpoints but the last."""
    with tempfile.TemporaryDirectory(prefix="gems-growth-") as folder:
        copy = Path(folder) / "home"
        shutil.copytree(home, copy)
        kept = home_of(Settings(home=copy, profiles=dict(BUILT_IN)))
        asyncio.run(_prune(kept))
        return sizes(copy)


async def _prune(kept: Home) -> None:
    await prune(kept, await plan(kept, Wishes(keep="last")))


def sizes(home: Path) -> Sizes:
    """Measure a home that nobody has open."""
    tables = {path.stem: _file_size(path) for path in home.glob("*.sqlite")}
    images = [path.stat().st_size for path in (home / "artifacts").rglob("*") if path.is_file()]
    return Sizes(
        checkpoints=tables.pop("checkpoints"),
        stored=checkpoint_size(home / "checkpoints.sqlite").stored,
        journal=tables.pop("journal"),
        other=sum(tables.values()),
        artifacts=sum(images),
        images=len(images),
    )


def _file_size(path: Path) -> int:
    """The size of a database file with all that was written in it."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path.stat().st_size


@click.command()
@click.option("--rounds", type=click.IntRange(2, 100), default=50, show_default=True)
@click.option("--candidates", type=click.IntRange(1, 16), default=4, show_default=True, help="Pictures a round.")
@click.option("--memory", type=click.Choice(MODES), default="experience", show_default=True, help="The refiner's.")
def main(rounds: int, candidates: int, memory: MemoryMode) -> None:
    """Measure how a trajectory grows on disk, and in the refiner's view."""
    png = make_picture(SIDE)
    try:
        with tempfile.TemporaryDirectory(prefix="gems-growth-") as folder:
            found = list(stages(Path(folder) / "home", rounds, candidates, png, memory))
    except GemsError as error:
        raise click.ClickException(str(error)) from error
    _print(make_console(stderr=False), found, candidates, memory)


def _print(console: Console, found: Sequence[Stage], candidates: int, memory: MemoryMode) -> None:
    picture = found[-1].whole.artifacts / found[-1].whole.images
    console.print(
        f"One trajectory, {candidates} pictures a round of {picture / 1024:.1f} KB each; {REQUIREMENTS} requirements. "
        f"Characters: prompts {PROMPT}, evidence {LONGEST['evidence']}, diagnoses {DIAGNOSIS}, thoughts {MOST_THOUGHT}; "
        f"experiences and digest {NOTE_WORDS} words. Memory: {memory}.",
        soft_wrap=True,
    )
    rows = [
        [
            str(it.rounds),
            *(f"{size / 1024:,.0f}" for size in (it.whole.checkpoints, it.whole.stored)),
            *(f"{size / 1024:,.0f}" for size in (it.thinned.checkpoints, it.thinned.stored)),
            *(f"{size / 1024:,.0f}" for size in (it.whole.journal, it.whole.other, it.whole.artifacts)),
            str(it.whole.images),
            f"{it.view / 1024:.1f}",
            str(it.pictures),
        ]
        for it in found
    ]
    heads = [
        "rounds", "checkpoints, file", "stored", "pruned: file", "stored", "journal", "other tables", "artifacts", "files",
        "view", "pictures",
    ]  # fmt: skip
    print_table(console, "KB; pruned with `gems prune --keep-checkpoints last`", heads, rows)


if __name__ == "__main__":
    main()
