"""`gems doctor --critic`: takes the exam with the models of a profile, shows how far it is, and prints what came out."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from contextlib import redirect_stdout
from pathlib import Path
from typing import Final

import click
from rich.console import Console

from gems.app.critic_exam import CriticExam, Ending, ExamPlan, ExamResult
from gems.app.exam_report import ExamHead, as_json_object, print_report
from gems.app.outcome import EXIT_DONE, EXIT_FAILED, EXIT_STOPPED
from gems.app.stopping import CtrlC
from gems.app.terminal import make_console
from gems.app.wording import plural
from gems.backends.sketch.images import SketchImages
from gems.core.errors import GemsConfigError
from gems.core.ports import Services
from gems.core.profiles import Endpoint
from gems.core.settings import Settings, load_settings
from gems.graph import OwnServices
from gems.memory import FileArtifacts

_EXIT: Final[dict[Ending, int]] = {
    "done": EXIT_DONE,
    "budget": EXIT_DONE,
    "outage": EXIT_FAILED,
    "stopped": EXIT_STOPPED,
}


def examine_critic(
    profile: str | None,
    *,
    pictures: int,
    seed: int,
    max_calls: int | None,
    max_cost: float | None,
    as_json: bool,
) -> int:
    """Examine the critic of a profile, and answer the exit code.

    Raises:
        GemsError: the settings or the critic cannot work.
    """
    settings = load_settings()
    resolved = settings.resolve(profile)
    endpoint = settings.chat(resolved, "critic")
    _check_money(endpoint, max_cost or resolved.max_cost)
    with tempfile.TemporaryDirectory(prefix="gems-exam-") as folder:
        services = exam_services(settings, Path(folder))
        plan = ExamPlan(resolved.name, pictures, seed, max_calls, max_cost)
        # Packages that print would break the one object on standard output.
        with redirect_stdout(sys.stderr):
            exam = CriticExam(services, plan)
            result = asyncio.run(_take(exam, endpoint, pictures, make_console(stderr=True)))
    head = ExamHead(endpoint.name, resolved.name, exam.options["critic"], pictures, exam.side, seed)
    if as_json:
        click.echo(json.dumps(as_json_object(head, result), ensure_ascii=False, indent=2))
    else:
        print_report(make_console(stderr=False), head, result)
    return _EXIT[result.ending] if result.judged or result.ending == "stopped" else EXIT_FAILED


def exam_services(settings: Settings, folder: Path) -> Services:
    """The machine's services; the exam's pictures go into a folder, and no image model is asked for anything."""
    return OwnServices(settings, images=SketchImages(), artifacts=FileArtifacts(folder))


def _check_money(endpoint: Endpoint, max_cost: float | None) -> None:
    if max_cost is not None and endpoint.is_paid and endpoint.price is None:
        raise GemsConfigError(
            f'max_cost needs a price of {endpoint.name}: set input and output of [prices."{endpoint.name}"] in gems.toml'
        )


async def _take(exam: CriticExam, endpoint: Endpoint, pictures: int, console: Console) -> ExamResult:
    price = ", which costs money" if endpoint.is_paid else ""
    console.print(
        f"{plural(pictures, 'picture')} for {endpoint.name}{price}; Ctrl-C ends it with what was measured.",
        soft_wrap=True,
    )
    with console.status("") as status:
        exam.on_judged = lambda judged: status.update(f"{judged} of {plural(pictures, 'picture')}")
        with CtrlC(exam.stop, exam.stop):
            return await exam.take()
