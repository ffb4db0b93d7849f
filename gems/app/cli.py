"""The command line: commands and options. What they do is loaded when one is called, so that `--help` is quick."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from gems import __version__
from gems.app.cli_options import (
    accept_changes_option,
    debug_option,
    json_option,
    limit_options,
    memory_options,
    out_option,
    review_option,
)
from gems.app.cli_threads import threads
from gems.core.errors import GemsConfigError

_LEADING = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class _Gems(click.Group):
    """The group: one place that turns errors into a message, an object on standard output, and an exit code."""

    def main(  # type: ignore[override]  # the overloads differ in `standalone_mode`, which is fixed here
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> Any:
        """Run a command and leave with its exit code."""
        arguments = list(sys.argv[1:] if args is None else args)
        _speak_utf8()
        try:
            code = super().main(arguments, prog_name, **{**extra, "standalone_mode": False})
        except click.ClickException as error:
            error.show()
            code = error.exit_code
            _refuse(GemsConfigError(error.format_message()), arguments)
        except (click.Abort, KeyboardInterrupt):
            click.echo("Stopped.", err=True)
            code = 130
            _refuse(KeyboardInterrupt(), arguments)
        except Exception as error:
            code = _fail(error, arguments)
        sys.exit(code if isinstance(code, int) else 0)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """In the order they are needed, not by name."""
        return list(self.commands)


def _speak_utf8() -> None:
    """Prompts hold any language, and the code page of a Windows pipe does not."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="replace")


def _fail(error: Exception, arguments: Sequence[str]) -> int:
    from gems.app.outcome import describe
    from gems.app.summary import show_failure
    from gems.app.terminal import make_console

    if "--debug" in arguments or os.environ.get("GEMS_DEBUG"):
        traceback.print_exception(error)
    failure = describe(error)
    show_failure(failure, make_console(stderr=True))
    _refuse(error, arguments)
    return failure.exit_code


def _refuse(error: BaseException, arguments: Sequence[str]) -> None:
    """With --json, say on standard output too what went wrong."""
    from gems.app.outcome import refused

    # What stands after "--" is a prompt, whatever it looks like.
    options = list(arguments[: arguments.index("--")] if "--" in arguments else arguments)
    if "--json" not in options:
        return
    after = options.index("--thread") + 1 if "--thread" in options else len(options)
    thread_id = options[after] if after < len(options) else None
    click.echo(json.dumps(refused(thread_id, error).as_json(), ensure_ascii=False, indent=2))


@click.group(cls=_Gems, context_settings=_LEADING)
@click.version_option(__version__, prog_name="gems")
def main() -> None:
    """Turns any text-to-image model into an agent: it plans, draws, looks, remembers, and draws again.

    \b
      gems doctor
      gems run "three red apples to the left of a blue vase"

    Exit codes: 0 done, 1 the run failed, 2 your input or settings, 3 it waits for your answer, 130 stopped.
    """  # noqa: D301 - click reads the backspace itself: the next paragraph keeps its lines


@main.command()
@click.argument("prompt")
@click.option("--profile", metavar="NAME", help="A named set of models.  [default: GEMS_PROFILE, else sketch]")
@limit_options
@click.option("--seed", type=int, metavar="N", help="First seed.  [default: random, printed]")
@click.option("--size", metavar="WxH", help="Size in pixels, e.g. 1024x768.")
@click.option(
    "--skill",
    "skills",
    multiple=True,
    metavar="NAME",
    help="Use this skill; repeatable.  [default: the planner chooses]",
)
@click.option("--no-skills", is_flag=True, help="Use no skill.")
@click.option(
    "--reference",
    "references",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A picture to follow, where the image model can; repeatable.",
)
@click.option("--paper", is_flag=True, help="Run the loop of the paper (arXiv 2603.28088) as it stands.")
@review_option
@memory_options
@click.option("--thread", metavar="ID", help="Name the run.  [default: date, time and four letters]")
@out_option
@json_option
@debug_option
def run(
    prompt: str,
    skills: tuple[str, ...],
    no_skills: bool,
    references: tuple[Path, ...],
    paper: bool,
    thread: str | None,
    out: Path | None,
    as_json: bool,
    debug: bool,
    **options: Any,
) -> int:
    """Draw PROMPT, look, and draw again until it is right. A PROMPT of - is read from standard input.

    A thread that holds a run already is left as it is: `gems follow-up` changes its picture.
    """
    if skills and no_skills:
        raise click.UsageError("--skill and --no-skills exclude each other")
    options["skills"] = [] if no_skills else list(skills) or None
    options["mode"] = "paper" if paper else None
    from gems.app.commands import start
    from gems.app.session import Target
    from gems.app.threads import new_thread_id

    thread_id = new_thread_id(datetime.now()) if thread is None else thread
    return start(prompt, options, Target(thread_id, out, as_json, debug), references=references)


@main.command()
@click.argument("thread")
@limit_options
@review_option
@accept_changes_option
@out_option
@json_option
@debug_option
def resume(thread: str, out: Path | None, as_json: bool, debug: bool, **options: Any) -> int:
    """Go on with a run that was stopped.

    One that was killed goes on too, and one that is finished does when a limit is raised. One that waits for your answer
    asks again. Where models, their settings or the role prompts are others than when it began, it says so and asks first.
    """
    from gems.app.commands import resume as resume_run
    from gems.app.session import Target

    return resume_run(options, Target(thread, out, as_json, debug))


@main.command()
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="Most runs listed.")
@json_option
@debug_option
def runs(limit: int, as_json: bool, debug: bool) -> None:  # noqa: ARG001 - the group reads --debug
    """List the runs of this machine, the latest first."""
    from gems.app.commands import list_runs

    list_runs(limit, as_json=as_json)


@main.command()
@click.argument("thread")
@click.option("--attempt", metavar="ID", help="One attempt whole, such as 2.1 or 2a.")
@click.option("--calls", is_flag=True, help="List the calls to models.")
@click.option(
    "--call", type=click.IntRange(min=1), metavar="N", help="One call whole: what was told, what was answered."
)
@json_option
@debug_option
def show(thread: str, attempt: str | None, calls: bool, call: int | None, as_json: bool, debug: bool) -> int:
    """Show a run: what was said, verdicts, images, lessons, cost."""
    if (attempt is not None) + calls + (call is not None) > 1:
        raise click.UsageError("--attempt, --calls and --call exclude each other")
    from gems.app import facts_command
    from gems.app.commands import show as show_run
    from gems.app.session import Target

    target = Target(thread, None, as_json, debug)
    if attempt is not None:
        return facts_command.show_attempt(target, attempt)
    if calls:
        return facts_command.list_calls(target)
    return show_run(target) if call is None else facts_command.show_call(target, call)


@main.command()
@click.argument("thread")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="The HTML file.  [default: gems-out/THREAD/report.html]",
)
@debug_option
def report(thread: str, out: Path | None, debug: bool) -> int:
    """Write the report of a run as one HTML file."""
    from gems.app.commands import report as write_report
    from gems.app.session import Target

    return write_report(Target(thread, out, as_json=False, debug=debug))


for command in threads.commands.values():
    main.add_command(command)


@main.group()
def skills() -> None:
    """List, read, check and make skills."""


@skills.command("list")
def skills_list() -> None:
    """List the skills that the planner can choose."""
    from gems.app.skill_commands import list_skills

    list_skills()


@skills.command("show")
@click.argument("name")
def skills_show(name: str) -> None:
    """Print a skill as a model reads it."""
    from gems.app.skill_commands import show_skill

    show_skill(name)


@skills.command("validate")
@click.argument("path", type=click.Path(exists=True, path_type=Path))
def skills_validate(path: Path) -> int:
    """Check the skill in the folder PATH, or every skill in a folder of skills."""
    from gems.app.skill_commands import validate

    return validate(path)


@skills.command("new")
@click.argument("name")
@click.option("--description", required=True, help="What it does and when to use it: all that the planner sees of it.")
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("skills"),
    show_default=True,
    metavar="DIR",
)
def skills_new(name: str, description: str, folder: Path) -> None:
    """Write the first draft of a skill called NAME."""
    from gems.app.skill_commands import new

    new(folder, name, description)


@main.command()
@click.option("--yes", is_flag=True, help="Ask nothing; take the first choice of each.")
@click.option("--force", is_flag=True, help="Write a new gems.toml and keep the one that is there as gems.toml.bak.")
@debug_option
def init(yes: bool, force: bool, debug: bool) -> None:  # noqa: ARG001 - the group reads --debug
    """Look at this machine, ask two questions at most, and write gems.toml in this folder."""
    from gems.app.init_command import initialize

    initialize(yes=yes, force=force)


@main.command()
@click.argument("repository", metavar="OWNER/NAME")
@click.argument("file", required=False)
@click.option("--revision", default="main", show_default=True, metavar="R", help="A branch, tag or commit.")
@click.option("--configs-only", is_flag=True, help="Leave all weights out: for a whole model in a file of your own.")
@click.option(
    "--without-transformer", is_flag=True, help="Leave its weights out: for a GGUF file that stands in for it."
)
@click.option("--yes", is_flag=True, help="Download without asking.")
@debug_option
def pull(
    repository: str,
    file: str | None,
    revision: str,
    configs_only: bool,
    without_transformer: bool,
    yes: bool,
    debug: bool,  # noqa: ARG001 - the group reads --debug
) -> int:
    """Download a model from the Hugging Face hub, or one FILE of it: a GGUF transformer, a LoRA.

    It shows what it would take, how large that is and under which licence, and asks. What was interrupted goes on where it
    stopped. No other command downloads anything. HF_TOKEN opens models that are gated.
    """
    from gems.app.pull_command import Wanted
    from gems.app.pull_command import pull as pull_model

    return pull_model(Wanted(repository, file, revision, configs_only, without_transformer), yes=yes)


@main.command()
@click.option("--profile", metavar="NAME", help="The profile to check.  [default: GEMS_PROFILE, else sketch]")
@click.option("--critic", is_flag=True, help="Examine the critic instead, on icons whose truth is known.")
@click.option("--pictures", type=click.IntRange(1, 10_000), default=40, show_default=True, help="Of the critic's exam.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the exam's pictures.")
@click.option("--max-calls", type=click.IntRange(min=1), metavar="N", help="Of the exam.  [default: the profile's]")
@click.option(
    "--max-cost", type=click.FloatRange(0, min_open=True), metavar="USD", help="Of the exam.  [default: the profile's]"
)
@json_option
@debug_option
def doctor(
    profile: str | None,
    critic: bool,
    as_json: bool,
    debug: bool,  # noqa: ARG001 - the group reads --debug
    **exam: Any,
) -> int:
    """Check that this machine is ready. It draws one picture and asks two questions: a paid model charges for that.

    With --critic it shows the critic pictures of icons whose truth is known, and tells how often it errs. That takes one
    call a picture and one more for each doubtful answer. The options after --critic, --json too, are for this exam.
    """
    if critic:
        from gems.app.exam_command import examine_critic

        return examine_critic(profile, as_json=as_json, **exam)
    given = click.get_current_context().get_parameter_source
    named = ("pictures", "seed", "max_calls", "max_cost", "as_json")
    if any(given(name) is click.core.ParameterSource.COMMANDLINE for name in named):
        raise click.UsageError("--pictures, --seed, --max-calls, --max-cost and --json need --critic")
    from gems.app.doctor import examine

    return examine(profile)


@main.command()
@click.argument("models", nargs=-1, metavar="[MODEL]...")
@click.option("--profile", metavar="NAME", help="Serve the image model of this profile, with its settings.")
@click.option("--host", default="127.0.0.1", show_default=True, metavar="HOST", help="Address to listen at.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8000,
    show_default=True,
    metavar="N",
    help="0 takes one that is free.",
)
@click.option(
    "--devices", metavar="LIST", help="Such as cuda:0,cuda:1, or all.  [default: the one with the most free memory]"
)
@click.option(
    "--queue",
    type=click.IntRange(1, 10_000),
    default=64,
    show_default=True,
    metavar="N",
    help="Most drawings taken in.",
)
@click.option("--open", "anyone", is_flag=True, help="Let other machines draw without a token.")
@debug_option
def serve(
    debug: bool,  # noqa: ARG001 - the group reads --debug
    **options: Any,
) -> int:
    """Serve image models of this machine's own by OpenAI's Images API, and by the protocol of the paper's servers.

    MODEL is an id of the hub (OWNER/NAME), a folder or a file, already on this machine; without one, the image model of the
    profile is served. Several share the devices; the first is meant where a request names none. Other machines need a token:
    set GEMS_SERVE_TOKENS.
    """
    from gems.app.serve_command import ServeOptions
    from gems.app.serve_command import serve as run_serve

    return run_serve(ServeOptions(**options))
