"""The cache that Hugging Face's libraries share: which models are in it, and where.

Its layout is documented in https://huggingface.co/docs/huggingface_hub/guides/manage-cache: a folder for each repository,
`refs` that name commits, `snapshots` of commits, and `blobs`, the files themselves, which snapshots link to.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gems.core.errors import GemsConfigError

MAIN: Final = "main"
COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_ID: Final = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
_REVISION: Final = re.compile(r"[\w.-]+(/[\w.-]+)*", re.ASCII)


def is_hub_id(text: str) -> bool:
    """Whether the text has the form `owner/name`."""
    return bool(_ID.fullmatch(text)) and ".." not in text and "--" not in text


def hub_cache(environ: Mapping[str, str] | None = None) -> Path:
    """The folder of the cache, by the same variables as Hugging Face's own libraries, read now."""
    env = os.environ if environ is None else environ
    home = env.get("HF_HOME") or str(Path(env.get("XDG_CACHE_HOME") or "~/.cache", "huggingface"))
    cache = env.get("HF_HUB_CACHE") or env.get("HUGGINGFACE_HUB_CACHE") or str(Path(home, "hub"))
    return Path(os.path.expandvars(cache)).expanduser()


@dataclass(frozen=True, slots=True)
class Repository:
    """The folder of one model in a cache. It need not be there."""

    id: str
    cache: Path

    @property
    def folder(self) -> Path:
        """Of all its revisions."""
        return self.cache / f"models--{self.id.replace('/', '--')}"

    @property
    def blobs(self) -> Path:
        """The files, each by its digest."""
        return self.folder / "blobs"

    def snapshot(self, commit: str) -> Path:
        """The files of a commit, by their names."""
        return self.folder / "snapshots" / commit

    def ref(self, revision: str) -> Path:
        """The file that names a branch's or tag's commit."""
        return self.folder / "refs" / revision

    def commit(self, revision: str) -> str | None:
        """The commit that a revision was when it was last asked for; None when it is not here."""
        if COMMIT.fullmatch(revision):
            return revision if self.snapshot(revision).is_dir() else None
        try:
            found = self.ref(revision).read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            return None
        return found if COMMIT.fullmatch(found) and self.snapshot(found).is_dir() else None

    @property
    def is_downloading(self) -> bool:
        """Whether a download was begun and not finished."""
        return any(self.blobs.glob("*.incomplete"))


@dataclass(frozen=True, slots=True)
class Place:
    """A folder of a pipeline; `repository` and `commit` are empty where it is no snapshot of the hub's."""

    folder: Path
    repository: str = ""
    commit: str = ""
    configs_only: bool = False
    """Whether no weights are wanted of it."""

    @property
    def remedy(self) -> str:
        """What makes it whole."""
        return pull_command(self.repository, configs_only=self.configs_only) if self.repository else "copy it again"


def pull_command(repository: str, *, configs_only: bool = False) -> str:
    """How a model is downloaded, as a sentence goes on."""
    return f"run `gems pull {repository}{' --configs-only' if configs_only else ''}`"


def find_snapshot(repository_id: str, revision: str | None, *, configs_only: bool = False) -> Place:
    """A model's files of one revision.

    Args:
        repository_id: `owner/name`.
        revision: A branch, tag or commit; None is the main branch.
        configs_only: Whether weights are not needed; for the remedy.

    Raises:
        GemsConfigError: the model or the revision is not in the cache.
    """
    repository = Repository(repository_id, hub_cache())
    wanted = revision or MAIN
    if not is_revision(wanted):
        raise GemsConfigError(f"local.revision is {revision!r}: name a branch, tag or commit of {repository_id!r}")
    commit = repository.commit(wanted)
    if commit:
        return Place(repository.snapshot(commit), repository_id, commit, configs_only)
    command = pull_command(repository_id, configs_only=configs_only)
    if similar := _spelled_otherwise(repository):
        raise GemsConfigError(f"{repository_id!r} is not on this machine, but {similar!r} is: write it so")
    if not repository.folder.is_dir():
        raise GemsConfigError(
            f"{repository_id!r} is neither a folder here nor in the Hugging Face cache ({repository.cache}): {command}"
        )
    if revision:
        raise GemsConfigError(
            f"revision {revision!r} of {repository_id!r} is not on this machine: "
            f"{command.removesuffix('`')} --revision {revision}`"
        )
    raise GemsConfigError(
        f"the main branch of {repository_id!r} is not on this machine: {command}, or set local.revision"
    )


def is_revision(text: str) -> bool:
    """Whether the text can name a branch, tag or commit, and nothing outside the cache."""
    return bool(_REVISION.fullmatch(text)) and not {".", ".."} & set(text.split("/"))


def _spelled_otherwise(repository: Repository) -> str | None:
    """The hub does not tell capital letters from small ones, the disk does."""
    try:
        names = [entry.name for entry in repository.cache.iterdir()]
    except OSError:
        return None
    wanted = repository.folder.name
    found = next((name for name in names if name != wanted and name.lower() == wanted.lower()), None)
    return found.removeprefix("models--").replace("--", "/", 1) if found else None
