"""`gems pull`: the one command that downloads weights. It shows what it would take, asks, takes it, and looks at it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import click
from rich.console import Console

from gems.app.outcome import EXIT_DONE, EXIT_STOPPED
from gems.app.pull_progress import PullProgress
from gems.app.pull_wording import Offer, file_lines, next_lines, offer_lines, size
from gems.app.terminal import make_console, printable
from gems.backends.local.components import Survey
from gems.backends.local.download import Download, Shelf, check_room, free_bytes, link, name_commit
from gems.backends.local.files import SAFETENSORS, read_json
from gems.backends.local.hub import Hub, Listing, open_hub
from gems.backends.local.hub_cache import MAIN, Repository, find_snapshot, hub_cache, is_hub_id, is_revision
from gems.backends.local.hub_files import TRANSFORMER, RemoteFile, Selection, needed_files, single_file, single_files
from gems.backends.local.model_index import INDEX, ModelIndex, parse_index
from gems.backends.local.orders import LocalModel
from gems.backends.local.weights import find_weights
from gems.core.errors import GemsConfigError
from gems.core.profiles import LocalOptions

Ask = Callable[[str], bool]
"""Puts a question that is answered with yes or no."""

_MOST_INDEX: Final = 1_000_000
"""Bytes of a model's index, beyond which it is none."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be downloaded: a pipeline of the hub, or one file."""

    repository: str
    file: str | None = None
    revision: str = MAIN
    configs_only: bool = False
    without_transformer: bool = False

    @property
    def is_partial(self) -> bool:
        """Whether weights of a pipeline are left out."""
        return self.configs_only or self.without_transformer

    def __post_init__(self) -> None:
        """Check it.

        Raises:
            GemsConfigError: it cannot be.
        """
        if not is_hub_id(self.repository):
            raise GemsConfigError(f"{self.repository!r} is no model of the hub: give it as OWNER/NAME")
        if not is_revision(self.revision):
            raise GemsConfigError(
                f"--revision is {self.revision!r}: name a branch, tag or commit of {self.repository!r}"
            )
        if self.file and (self.file.startswith("/") or ".." in self.file.split("/")):
            raise GemsConfigError(
                f"{self.file!r} is no file of a repository: give its path there, as its page shows it"
            )
        if self.file and self.is_partial:
            raise GemsConfigError(
                "--configs-only and --without-transformer are for whole models: leave them out, or the file"
            )


def pull(wanted: Wanted, *, yes: bool) -> int:
    """`gems pull`: the exit code.

    Raises:
        GemsConfigError: it cannot be had, or nobody was there to agree to it.
    """
    with open_hub() as hub:
        ask = (lambda _: True) if yes else ask_on_terminal if sys.stdin.isatty() else None
        return fetch(wanted, hub, make_console(stderr=False), ask)


def fetch(wanted: Wanted, hub: Hub, console: Console, ask: Ask | None) -> int:
    """Show, ask, download, look at it, and say what comes next.

    Args:
        wanted: What is to be downloaded.
        hub: Where it is.
        console: Where it is told.
        ask: Puts the question whether to download; None where nobody can be asked.

    Raises:
        GemsConfigError: it cannot be had, or nobody could be asked.
    """
    listing = hub.listing(wanted.repository, wanted.revision)
    selection = choose(wanted, hub, listing)
    shelf = Shelf(Repository(listing.id, hub_cache()), listing.commit)
    lacking = shelf.lacking(selection.files)
    for line in offer_lines(_offer(wanted, hub, listing, selection, shelf)):
        _say(console, line)
    if lacking:
        check_room(shelf, lacking)
        to_come = size(shelf.bytes_to_come(lacking))
        if ask is None:
            raise GemsConfigError(
                f"nothing was downloaded: there is no terminal to ask on, so add --yes to download {to_come}"
            )
        if not ask(f"Download {to_come}?"):
            _say(console, "Nothing was downloaded.")
            return EXIT_STOPPED
        _download(hub, listing, shelf, lacking, console)
    link(shelf, selection.files)
    _remember(wanted, shelf)
    _say(console, "Downloaded." if lacking else "All of it is here already: nothing was downloaded.")
    for line in _check(wanted, listing, shelf, selection):
        _say(console, line)
    return EXIT_DONE


def choose(wanted: Wanted, hub: Hub, listing: Listing) -> Selection:
    """The files to take. Of a pipeline its index is read for that, and not kept.

    Raises:
        GemsConfigError: the repository has nothing that could be loaded.
    """
    if wanted.file:
        return single_file(listing.id, listing.files, wanted.file)
    index = next((it for it in listing.files if it.name == INDEX), None)
    if index is None:
        instead = single_files(listing.files)
        remedy = (
            f"{instead}, of which you can take one: gems pull {listing.id} FILE" if instead else "choose another model"
        )
        raise GemsConfigError(f"{listing.id!r} has no {INDEX}, which every diffusers pipeline has: {remedy}")
    return needed_files(
        listing.id,
        listing.files,
        _read_index(hub, listing, index),
        configs_only=wanted.configs_only,
        without_transformer=wanted.without_transformer,
    )


def ask_on_terminal(question: str) -> bool:
    """Ask; Enter agrees."""
    return click.confirm(question, default=True)


def _read_index(hub: Hub, listing: Listing, file: RemoteFile) -> ModelIndex:
    if file.size > _MOST_INDEX:
        raise GemsConfigError(f"the {INDEX} of {listing.id!r} has {size(file.size)}: it is none; choose another model")
    content = hub.read(listing, file)
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise GemsConfigError(f"the {INDEX} of {listing.id!r} is not JSON: choose another model") from error
    if not isinstance(value, dict):
        raise GemsConfigError(f"the {INDEX} of {listing.id!r} holds no JSON object: choose another model")
    return parse_index(value, listing.id)


def _offer(wanted: Wanted, hub: Hub, listing: Listing, selection: Selection, shelf: Shelf) -> Offer:
    lacking = shelf.lacking(selection.files)
    taken = sum(it.size for it in selection.files)
    return Offer(
        listing.id,
        hub.asked(listing.id, wanted.revision).page,
        wanted.revision,
        listing.commit,
        listing.licence,
        listing.licence_link,
        listing.gated,
        selection.files,
        lacking,
        shelf.bytes_to_come(lacking),
        0 if wanted.file else sum(it.size for it in listing.files) - taken,
        selection.variant,
        shelf.repository.cache,
        free_bytes(shelf.repository.cache),
    )


def _download(hub: Hub, listing: Listing, shelf: Shelf, lacking: Sequence[RemoteFile], console: Console) -> None:
    with PullProgress(console, lacking, {it.digest: shelf.begun(it) for it in lacking}) as progress:
        try:
            Download(hub, listing, shelf, progress.told).run(lacking)
        except KeyboardInterrupt:
            _say(console, "What has arrived is kept: run it again, and it goes on from there.")
            raise


def _remember(wanted: Wanted, shelf: Shelf) -> None:
    """Move the revision's name to this commit, unless a whole model that is here under it would be lost from sight."""
    before = shelf.repository.commit(wanted.revision)
    if (
        before
        and (wanted.file or wanted.is_partial)
        and any(shelf.repository.snapshot(before).glob(f"*/*{SAFETENSORS}"))
    ):
        return
    name_commit(shelf, wanted.revision)


def _check(wanted: Wanted, listing: Listing, shelf: Shelf, selection: Selection) -> Sequence[str]:
    """Look at what is here now; what to do next."""
    if wanted.file:
        return list(file_lines(shelf.pointer(selection.files[0])))
    if wanted.is_partial:
        place = find_snapshot(listing.id, listing.commit, configs_only=wanted.configs_only)
        survey = Survey(listing.id, place, parse_index(read_json(place.folder / INDEX, place.remedy), listing.id))
        survey.check_configs()
        if not wanted.configs_only:
            survey.parts(without=[TRANSFORMER])
    else:
        find_weights(LocalModel(listing.id, LocalOptions(revision=listing.commit)))
    return list(
        next_lines(
            listing.id,
            wanted.revision,
            configs_only=wanted.configs_only,
            without_transformer=wanted.without_transformer,
        )
    )


def _say(console: Console, text: str) -> None:
    # Names and licences are written by whoever owns the repository.
    console.print(printable(text), soft_wrap=True)
