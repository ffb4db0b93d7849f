"""An artifact store that gives each user of a server the images that are theirs, and no others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from langgraph.config import get_config

from gems.core.errors import ArtifactCorrupt
from gems.core.ports import ArtifactStore
from gems.memory.artifacts import artifact_id
from gems.memory.holdings import SqlHoldings

USER: Final = "langgraph_auth_user_id"
"""What a server calls, in a run's configuration, whom it has recognised."""


def current_user() -> str | None:
    """Whose run it is, in a node of one that a server's user began; None elsewhere."""
    try:
        config = get_config()
    except RuntimeError:  # nothing is being run
        return None
    return config.get("configurable", {}).get(USER) or None


class OwnedArtifacts:
    """The images of one user.

    Of an image that is another's it says what it says of one that is not there. What nobody holds was drawn before, or
    without, a server: it is the machine's owner's.
    """

    def __init__(
        self, store: ArtifactStore, holdings: SqlHoldings, machine_owner: str, user: Callable[[], str | None]
    ) -> None:
        """Show of `store` what is `user`'s; None is whoever sits at the machine, and sees all."""
        self.store = store
        self._holdings = holdings
        self._machine_owner = machine_owner
        self._user = user

    async def put(self, content: bytes) -> str:
        """Store the bytes as the user's, and answer their id."""
        if user := self._user():
            # Noted first: an image that is there and nobody's would be the machine's owner's.
            await self._holdings.hold(user, artifact_id(content))
        return await self.store.put(content)

    async def get(self, artifact: str) -> bytes:
        """The bytes of an image of the user's.

        Raises:
            ArtifactCorrupt: it is not the user's, is missing, or does not match its id.
        """
        if not await self._is_theirs(artifact):
            raise ArtifactCorrupt(f"image {artifact[:12]} cannot be read: there is none of that id")
        return await self.store.get(artifact)

    async def has(self, artifact: str) -> bool:
        """Whether the user has it."""
        return await self.store.has(artifact) and await self._is_theirs(artifact)

    def place(self, artifact: str) -> str:
        """Where it lies, whosever it is."""
        return self.store.place(artifact)

    async def check(self) -> None:
        """As the store's."""
        await self.store.check()

    async def _is_theirs(self, artifact: str) -> bool:
        user = self._user()
        if user is None:
            return True
        owners = await self._holdings.owners(artifact)
        return user in owners or (user == self._machine_owner and not owners)
