"""A model that `gems init` could take."""

from __future__ import annotations

from dataclasses import dataclass

from gems.backends.hosts import is_local
from gems.core.profiles import Price


@dataclass(frozen=True, slots=True)
class Choice:
    """A model that could be taken."""

    label: str
    """For the question."""
    model: str
    """`provider:model`."""
    base_url: str | None = None
    key: str = ""
    """The environment variable that holds its key."""
    comment: str = ""
    """For the file."""
    price: Price | None = None
    """For the file, where the built-in table has none."""
    quality: str | None = None
    size: str | None = None
    """Of pictures, where it is not the default."""
    fetch: str = ""
    """The command that downloads it; empty where it is here."""
    fetched: str = ""
    """What that command brings."""

    @property
    def is_paid(self) -> bool:
        """Whether calls cost money."""
        return bool(self.key)

    @property
    def is_embedded(self) -> bool:
        """Whether it is the embedded engine."""
        return self.model == "sketch"

    @property
    def is_weights(self) -> bool:
        """Whether it is drawn by in this process, with weights of one's own."""
        return self.model.startswith("diffusers:")

    @property
    def is_served_here(self) -> bool:
        """Whether a server on this machine has it."""
        return self.base_url is not None and is_local(self.base_url)
