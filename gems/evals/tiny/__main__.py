"""`python -m gems.evals.tiny FAMILY FOLDER`: a model to try `diffusers:FOLDER` with, where real weights are not at hand."""

from __future__ import annotations

from pathlib import Path

import click

from gems.evals.tiny.build import build_tiny
from gems.evals.tiny.families import TINY_FAMILIES


@click.command(epilog=f"FAMILY is one of {', '.join(TINY_FAMILIES)}.")
@click.argument("family", type=click.Choice(TINY_FAMILIES), metavar="FAMILY")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--seed", default=0, show_default=True, help="Decides the weights.")
def main(family: str, folder: Path, seed: int) -> None:
    """Write a tiny pipeline of FAMILY to FOLDER. Its weights are random, and so are its pictures."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    # The process is ours: their notices are of packages that nothing here needs.
    for library in (diffusers_logging, transformers_logging):
        library.set_verbosity_error()
        library.disable_progress_bar()
    click.echo(build_tiny(family, folder, seed))


if __name__ == "__main__":
    main()
