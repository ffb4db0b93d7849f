"""`python -m gems.evals.loopback`: the servers as a process. The first line it prints is their URL, as JSON."""

from __future__ import annotations

import gc
import json
import sys
from pathlib import Path
from typing import cast

import click

from gems.evals.loopback.brains import never, seeing
from gems.evals.loopback.chat import ChatServer
from gems.evals.loopback.chat_faults import CHAT_FAULTS
from gems.evals.loopback.chat_flavours import CHAT_FLAVOURS, ChatFlavour
from gems.evals.loopback.faults import seeded
from gems.evals.loopback.image_flavours import IMAGE_FLAVOURS, ImageFlavour
from gems.evals.loopback.images import IMAGE_FAULTS, ImageServer
from gems.evals.loopback.pictures import flat, prepared
from gems.evals.loopback.server import Loopback


@click.command()
@click.option("--chat", type=click.Choice(CHAT_FLAVOURS), default="vllm", show_default=True)
@click.option("--images", type=click.Choice(IMAGE_FLAVOURS), default="vllm-omni", show_default=True)
@click.option("--brain", type=click.Choice(["seeing", "never"]), default="seeing", show_default=True)
@click.option("--chat-seconds", default=0.0, show_default=True, help="Seconds an answer takes.")
@click.option("--image-seconds", default=0.0, show_default=True, help="Seconds a drawing takes, one at a time.")
@click.option(
    "--picture",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Draw always this picture; left out, a flat colour that prompt and seed decide.",
)
@click.option("--dirt", default=0.0, show_default=True, help="Share of requests that are answered badly.")
@click.option("--seed", default=0, show_default=True, help="Which ones, and how.")
def main(
    chat: str,
    images: str,
    brain: str,
    chat_seconds: float,
    image_seconds: float,
    picture: Path | None,
    dirt: float,
    seed: int,
) -> None:
    """Serve chat and images on 127.0.0.1 until the standard input ends. GET /_log answers with what was asked."""
    chat_server = ChatServer(
        never() if brain == "never" else seeing(),
        cast("ChatFlavour", chat),
        seconds=chat_seconds,
        plan=seeded(seed, CHAT_FAULTS, dirt),
    )
    image_server = ImageServer(
        cast("ImageFlavour", images),
        paint=prepared(picture.read_bytes()) if picture else flat,
        seconds=image_seconds,
        plan=seeded(seed + 1, IMAGE_FAULTS, dirt),
    )
    with Loopback(chat_server, image_server) as server:
        # A collection of all that was imported, in the middle of an answer, would pass for the model's time.
        gc.freeze()
        click.echo(json.dumps({"url": server.url}))
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main()
