"""Commands on what runs leave behind: their threads, images and lessons. Listed in the order of `gems --help`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from gems.app.cli_options import (
    accept_changes_option,
    debug_option,
    json_option,
    limit_options,
    memory_options,
    out_option,
    review_option,
)

threads = click.Group()
"""Holds the commands until the program's own group takes them in."""


@threads.command("follow-up")
@click.argument("thread")
@click.argument("message")
@click.option(
    "--reference",
    "references",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A picture to follow from now on, where the image model can; repeatable.",
)
@limit_options
@review_option
@memory_options
@accept_changes_option
@out_option
@json_option
@debug_option
def follow_up(
    thread: str,
    message: str,
    references: tuple[Path, ...],
    out: Path | None,
    as_json: bool,
    debug: bool,
    **options: Any,
) -> int:
    """Say what to change in the picture of a run. A MESSAGE of - is read from standard input.

    The requirements are amended, and the run goes on from its best picture. --max-rounds counts from here; other limits are
    for the whole run.
    """
    from gems.app.follow_up_command import follow_up as follow_up_run
    from gems.app.session import Target

    return follow_up_run(message, options, Target(thread, out, as_json, debug), references=references)


@threads.command()
@click.argument("thread")
@click.option(
    "--approve", "action", flag_value="approve", help="Go on, with what else is said here. This is the default."
)
@click.option("--accept", "action", flag_value="accept", help="Take the best picture as it is.")
@click.option("--stop", "action", flag_value="stop", help="End here; `gems resume` goes on one day.")
@click.option("--best", metavar="ID", help="This picture is the best: 2b or 2.2.")
@click.option(
    "--overrule",
    multiple=True,
    metavar="[ID:]REQ=VERDICT",
    help="The critic was wrong: r3=met or r3=unmet of the best picture, 2b:r3=met of another; repeatable.",
)
@click.option("--note", metavar="TEXT", help="Why verdicts are overruled.")
@click.option("--prompt", "prompts", multiple=True, metavar="TEXT", help="Draw this; repeatable for a plan.")
@click.option("--drop", multiple=True, metavar="REQ", help="Do not check this requirement of the plan; repeatable.")
@click.option("--add", multiple=True, metavar="QUESTION", help="Check this too, of a plan; repeatable.")
@click.option("--feedback", metavar="TEXT", help="A word to the model that chooses what changes.")
@accept_changes_option
@out_option
@json_option
@debug_option
def review(
    thread: str,
    accept_changes: bool | None,
    out: Path | None,
    as_json: bool,
    debug: bool,
    **reply: Any,
) -> int:
    """Answer a run that waits for you: at its plan, or after a round. Without an answer it shows the question and asks.

    What does not fit the question is refused, and the question stays.
    """
    from gems.app.review_command import Reply
    from gems.app.review_command import review as review_run
    from gems.app.session import Target

    target = Target(thread, out, as_json, debug)
    return review_run(Reply(**reply), {"accept_changes": accept_changes}, target)


@threads.command()
@click.argument("thread")
@click.option("--no-wait", is_flag=True, help="Ask, and do not wait until it has stopped.")
@json_option
@debug_option
def stop(thread: str, no_wait: bool, as_json: bool, debug: bool) -> int:  # noqa: ARG001 - the group reads --debug
    """Ask the process that runs a thread to stop after its current step; `gems resume` goes on from there."""
    from gems.app.stop_command import stop as stop_run

    return stop_run(thread, wait=not no_wait, as_json=as_json)


@threads.command()
@click.argument("thread")
@click.option("--round", "number", type=click.IntRange(min=1), metavar="N", help="Begin before round N was drawn.")
@click.option("--checkpoint", metavar="ID", help="Begin at this checkpoint instead.")
@click.option("--list", "listed", is_flag=True, help="List the checkpoints that a branch can begin at.")
@click.option("--prompt", metavar="TEXT", help="Draw this in that round.")
@click.option("--seed", type=int, metavar="N", help="Other seeds, from that round on.")
@click.option("--profile", metavar="NAME", help="Other models, from there on.")
@limit_options
@click.option("--thread", "new", metavar="ID", help="Name the branch.  [default: THREAD-fork- and four letters]")
@out_option
@json_option
@debug_option
def fork(
    thread: str,
    number: int | None,
    checkpoint: str | None,
    listed: bool,
    prompt: str | None,
    new: str | None,
    out: Path | None,
    as_json: bool,
    debug: bool,
    **options: Any,
) -> int:
    """Begin a branch of a run: another thread with the same past, that goes on with another prompt, seed or models.

    The run itself stays as it is. Pictures it has received are not drawn again, and limits count the shared rounds too.
    """
    if not listed and (number is None) == (checkpoint is None):
        raise click.UsageError("give --round or --checkpoint, one of them; --list shows where a branch can begin")
    from gems.app.fork_command import Place, list_checkpoints
    from gems.app.fork_command import fork as fork_run
    from gems.app.session import Target
    from gems.app.threads import branch_thread_id

    if listed:
        return list_checkpoints(thread, as_json=as_json)
    thread_id = branch_thread_id(thread) if new is None else new
    return fork_run(Place(thread, number, checkpoint), prompt, options, Target(thread_id, out, as_json, debug))


@threads.command()
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@json_option
@debug_option
def diff(first: str, second: str, as_json: bool, debug: bool) -> int:  # noqa: ARG001 - the group reads --debug
    """Show where the runs on two threads part, and what became of each.

    Exit codes: 0 they are the same, 1 they differ, 2 a thread cannot be read.
    """
    from gems.app.diff_command import diff as diff_runs

    return diff_runs(first, second, as_json=as_json)


@threads.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE.jsonl")
@click.option("--name", metavar="NAME", help="Begins the ids of the batch's threads.  [default: as the file]")
@click.option("--jobs", type=click.IntRange(1, 256), default=4, show_default=True, metavar="N", help="Runs at a time.")
@click.option("--profile", metavar="NAME", help="A named set of models.  [default: GEMS_PROFILE, else sketch]")
@limit_options
@click.option(
    "--max-cost-total",
    type=click.FloatRange(0, min_open=True),
    metavar="USD",
    help="For all runs together; needs --max-cost. A run begins where its own limit still fits.",
)
@click.option("--seed", type=int, metavar="N", help="First seed of every run.  [default: random]")
@click.option("--size", metavar="WxH", help="Size in pixels, e.g. 1024x768.")
@click.option("--skill", "skills", multiple=True, metavar="NAME", help="Use this skill; repeatable.")
@click.option("--no-skills", is_flag=True, help="Use no skill.")
@click.option("--paper", is_flag=True, help="Run the loop of the paper (arXiv 2603.28088) as it stands.")
@click.option("--full", is_flag=True, help="Write the whole folder of each run too, as `gems run` does.")
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="DIR", help="Folder of results.  [default: gems-out/NAME]"
)
@json_option
@debug_option
def batch(
    file: Path,
    name: str | None,
    jobs: int,
    max_cost_total: float | None,
    skills: tuple[str, ...],
    no_skills: bool,
    paper: bool,
    full: bool,
    out: Path | None,
    as_json: bool,
    debug: bool,
    **options: Any,
) -> int:
    """Run many prompts: one JSON object a line, with a prompt and, if need be, id, references, seed, size, max_rounds, ...

    What a line says of its own wins over the options here; limits hold for each run. The same command goes on where it was
    stopped or killed, and leaves what is finished as it is. results.jsonl has a row for each prompt.

    Exit codes: 0 all done, 1 some failed, 2 your input or settings, 130 stopped by Ctrl-C.
    """
    if skills and no_skills:
        raise click.UsageError("--skill and --no-skills exclude each other")
    options["skills"] = [] if no_skills else list(skills) or None
    options["mode"] = "paper" if paper else None
    from gems.app.batch.command import BatchTarget
    from gems.app.batch.command import batch as run_batch

    return run_batch(BatchTarget(file, name, out, jobs, max_cost_total, full, as_json, debug), options)


@threads.group()
def lessons() -> None:
    """List, read, change and delete what earlier runs taught.

    They are those of GEMS_OWNER, or else of `owner` in gems.toml.
    """


@lessons.command("list")
@json_option
@debug_option
def lessons_list(as_json: bool, debug: bool) -> None:  # noqa: ARG001 - the group reads --debug
    """List lessons, the most useful first."""
    from gems.app.lessons_command import list_lessons

    list_lessons(as_json=as_json)


@lessons.command("show")
@click.argument("lesson", metavar="ID")
@json_option
@debug_option
def lessons_show(lesson: str, as_json: bool, debug: bool) -> None:  # noqa: ARG001 - the group reads --debug
    """Show one lesson whole."""
    from gems.app.lessons_command import show_lesson

    show_lesson(lesson, as_json=as_json)


@lessons.command("edit")
@click.argument("lesson", metavar="ID")
@click.option("--when", metavar="TEXT", help="The situation it is for.")
@click.option("--advice", metavar="TEXT", help="What to do then. Its uses are counted anew.")
@json_option
@debug_option
def lessons_edit(
    lesson: str,
    when: str | None,
    advice: str | None,
    as_json: bool,
    debug: bool,  # noqa: ARG001 - the group reads --debug
) -> None:
    """Change a lesson's words. From then on no run changes them or puts another lesson in its place."""
    if when is None and advice is None:
        raise click.UsageError("say what to change: --when, --advice, or both")
    from gems.app.lessons_command import edit_lesson

    edit_lesson(lesson, when, advice, as_json=as_json)


@lessons.command("delete")
@click.argument("lesson", metavar="ID")
@json_option
@debug_option
def lessons_delete(lesson: str, as_json: bool, debug: bool) -> None:  # noqa: ARG001 - the group reads --debug
    """Forget a lesson."""
    from gems.app.lessons_command import delete_lesson

    delete_lesson(lesson, as_json=as_json)


@threads.command()
@click.argument("thread")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False), required=False)
@click.option("--last", is_flag=True, help="The latest checkpoint alone: smaller, but no branch can begin before it.")
@click.option("--force", is_flag=True, help="Write over FILE.")
@json_option
@debug_option
def export(
    thread: str,
    file: Path | None,
    last: bool,
    force: bool,
    as_json: bool,
    debug: bool,  # noqa: ARG001 - the group reads --debug
) -> int:
    """Write a thread to one FILE, by default THREAD.gems, with all it needs to go on elsewhere.

    Checkpoints, images, messages and raw replies of every call, what was received and spent. No key and no folder's name.
    """
    from gems.app.export_command import export as export_thread

    return export_thread(thread, file, only_last=last, force=force, as_json=as_json)


@threads.command("import")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--thread", metavar="ID", help="Name it so.  [default: as it was]")
@json_option
@debug_option
def import_(file: Path, thread: str | None, as_json: bool, debug: bool) -> int:  # noqa: ARG001 - the group reads --debug
    """Take in a thread that `gems export` wrote. All of FILE is checked before anything is kept."""
    from gems.app.import_command import take_in

    return take_in(file, thread, as_json=as_json)


@threads.command()
@click.argument("what", metavar="FILE|THREAD")
@json_option
@debug_option
def replay(what: str, as_json: bool, debug: bool) -> int:  # noqa: ARG001 - the group reads --debug
    """Run a trajectory again from what was received then, offline, and say whether it comes to the same.

    Nothing is asked, drawn or kept. Exit codes: 0 identical, 1 it parts, 2 it cannot be replayed.
    """
    from gems.app.replay_command import replay as replay_thread

    return replay_thread(what, as_json=as_json)


@threads.command()
@click.option(
    "--older-than",
    type=click.FloatRange(0),
    metavar="DAYS",
    help="Forget whole threads that nobody touched for so long.  [default: GEMS_KEEP_DAYS, else never]",
)
@click.option("--include-waiting", is_flag=True, help="Those, too, that wait for your answer.")
@click.option(
    "--keep-checkpoints",
    type=click.Choice(["all", "rounds", "last"]),
    default="all",
    show_default=True,
    help="Of finished runs: all, those a round begins at, or the latest alone.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@debug_option
def prune(
    older_than: float | None,
    include_waiting: bool,
    keep_checkpoints: Any,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    debug: bool,  # noqa: ARG001 - the group reads --debug
) -> int:
    """Remove what no thread needs: images, records and files that killed processes left behind.

    Threads go only by their age, and never one that is being run. What is younger than an hour stays, and so does what
    belongs to threads of a LangGraph server.
    """
    from gems.app.prune_command import prune as prune_home
    from gems.memory.pruning import Wishes

    return prune_home(Wishes(older_than, include_waiting, keep_checkpoints), dry_run=dry_run, yes=yes, as_json=as_json)
