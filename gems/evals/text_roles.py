"""`python -m gems.evals.text_roles`: how a chat server answers the roles that need no picture, through the real client."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import click
from pydantic import BaseModel
from rich.console import Console

from gems.app.terminal import make_console, one_line
from gems.backends.services import make_models
from gems.core.errors import GemsError
from gems.core.messages import Task, compose
from gems.core.ports import Answer, Models
from gems.core.profiles import ChatOptions, Profile
from gems.core.replies import Verdicts
from gems.core.settings import Settings
from gems.evals.figures import print_table
from gems.evals.text_questions import TextQuestion, questions_of, requests_of
from gems.nodes.belief import verdict_beliefs
from gems.skills import FolderSkills

Form = Literal["auto", "json_schema", "json_object", "text"]
FORMS: Final[tuple[Form, ...]] = ("auto", "json_schema", "json_object", "text")
_SHOWN: Final = 10
"""Errors listed."""
_LONGEST: Final = 300
"""Characters of one."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What came of one question. Its seconds are those of the calls, without the wait for their turn."""

    task: Task
    ending: str
    """`at once`, `repaired`, or the answer's problem; `no answer` when there was an error."""
    error: str = ""
    seconds: float = 0.0
    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    verdicts: int = 0
    """Verdicts of a reply whose tokens came with probabilities."""
    believed: int = 0
    """Those of them whose probability could be read."""


def profile_of(base_url: str, model: str, chat: ChatOptions) -> Profile:
    """The server as a profile. A call that fails is not made again, so that each is counted."""
    return Profile(
        mllm=f"openai:{model}",
        mllm_base_url=base_url,
        images="reference:none",
        images_base_url=base_url,
        chat=chat.model_copy(update={"retries": 0}),
    )


async def ask_all(profile: Profile, requests: Sequence[str], home: Path) -> list[Heard]:
    """Ask everything about the requests, as many questions at a time as the profile allows.

    Args:
        profile: The server.
        requests: The users' words.
        home: Where what is learnt of the server is kept.

    Raises:
        GemsConfigError: the profile cannot be made.
    """
    skills = FolderSkills()
    cards = skills.cards()
    texts = [skills.read(card.name) for card in cards]
    settings = Settings(home=home, profiles={"server": profile})
    models = make_models(settings, "server")
    questions = [
        question
        for turn, request in enumerate(requests)
        for question in questions_of(request, cards, texts[turn % len(texts)])
    ]
    turns = asyncio.Semaphore(profile.chat.concurrency)
    async with aclosing(models):
        return await asyncio.gather(*(_ask(models, turns, question) for question in questions))


async def _ask(models: Models, turns: asyncio.Semaphore, question: TextQuestion) -> Heard:
    messages = compose(question.task, question.instructions, question.fields)
    async with turns:
        try:
            answer = await models.roles[question.role].ask(messages, question.reply_model)
        except GemsError as error:
            return Heard(question.task, "no answer", f"{type(error).__name__}: {error}")
    return _heard(question.task, answer)


def _heard(task: Task, answer: Answer[BaseModel]) -> Heard:
    usage = answer.usage
    items = answer.reply.verdicts if isinstance(answer.reply, Verdicts) else []
    # As the critic does: where the tokens tell of other verdicts than the reply, they tell nothing.
    beliefs = verdict_beliefs(answer.tokens) if items else []
    believed = sum(belief is not None for belief in beliefs) if len(beliefs) == len(items) else 0
    calls = usage.get("mllm_calls", 0)
    return Heard(
        task,
        answer.problem or ("at once" if calls == 1 else "repaired"),
        seconds=usage.get("mllm_seconds", 0.0),
        calls=calls,
        input_tokens=usage.get("input_tokens", 0),
        output_tokens=usage.get("output_tokens", 0),
        verdicts=len(items) if answer.tokens else 0,
        believed=believed,
    )


def print_heard(console: Console, title: str, heard: Sequence[Heard]) -> None:
    """One line a task and one for all, then the errors."""
    tasks = dict.fromkeys(it.task for it in heard)
    parts = [(str(task), [it for it in heard if it.task == task]) for task in tasks]
    rows = [_row(label, part) for label, part in [*parts, ("all", list(heard))]]
    heads = ["", "asked", "at once", "repaired", "unknown", "no answer", "calls", "s a call", "read", "written", "why"]
    print_table(console, title, heads, rows)
    verdicts = sum(it.verdicts for it in heard)
    if verdicts:
        console.print(f"verdicts whose probability could be read: {sum(it.believed for it in heard)} of {verdicts}")
    for error, times in Counter(it.error for it in heard if it.error).most_common(_SHOWN):
        console.print(one_line(f"  {times} times: {error}", _LONGEST))


def _row(label: str, heard: Sequence[Heard]) -> list[str]:
    endings = Counter(it.ending for it in heard)
    problems = {ending: endings[ending] for ending in endings if ending not in ("at once", "repaired", "no answer")}
    calls = sum(it.calls for it in heard)
    return [
        label,
        str(len(heard)),
        str(endings["at once"]),
        str(endings["repaired"]),
        str(sum(problems.values())),
        str(endings["no answer"]),
        str(calls),
        f"{sum(it.seconds for it in heard) / calls:.1f}" if calls else "",
        f"{sum(it.input_tokens for it in heard):,}",
        f"{sum(it.output_tokens for it in heard):,}",
        _counted(problems.items()),
    ]


def _counted(problems: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"{problem} {times}" for problem, times in sorted(problems))


@click.command()
@click.option("--base-url", required=True, help="Of a server that speaks OpenAI's protocol; mostly ends in /v1.")
@click.option("--model", required=True, help="What the server calls the model.")
@click.option("--prompts", type=click.IntRange(min=1), default=50, show_default=True, help="Requests.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the requests.")
@click.option("--output", type=click.Choice(FORMS), default="auto", show_default=True, help="How JSON is asked for.")
@click.option("--max-tokens", type=click.IntRange(min=256), default=1024, show_default=True, help="Of one reply.")
@click.option("--seconds", type=float, default=180.0, show_default=True, help="Time limit of one call.")
@click.option("--together", type=click.IntRange(min=1), default=8, show_default=True, help="Questions at a time.")
def main(
    base_url: str, model: str, prompts: int, seed: int, output: Form, max_tokens: int, seconds: float, together: int
) -> None:
    """Ask a chat server what the roles ask, and count how it answers. The exit code is 1 where it did not answer."""
    chat = ChatOptions(output=output, max_tokens=max_tokens, seconds=seconds, concurrency=together)
    try:
        with tempfile.TemporaryDirectory(prefix="gems-text-") as home:
            asked = requests_of(prompts, seed)
            heard = asyncio.run(ask_all(profile_of(base_url, model, chat), asked, Path(home)))
    except GemsError as error:
        raise click.ClickException(str(error)) from error
    title = f"{model}, {output}: {len(heard)} questions about {len(asked)} requests; read and written in tokens"
    print_heard(make_console(stderr=False), title, heard)
    sys.exit(1 if any(it.error for it in heard) else 0)


if __name__ == "__main__":
    main()
