"""One GPU for chat and drawing: calls to models that take turns with those of the other kind."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, Protocol, runtime_checkable

from langchain_core.messages import BaseMessage

from gems.backends.chat.unloading import ChatServers
from gems.backends.hosts import on_one_machine
from gems.backends.serving import Places
from gems.backends.turnstile import Leave, Side, Turnstile
from gems.core.ports import Answer, ChatRole, ImageGenerator, R
from gems.core.profiles import Endpoint
from gems.core.spending import deadline

ONE_GPU: Final = Turnstile()
"""For all profiles of this process whose chat and drawing must not overlap: the GPU is one, whoever uses it."""
CHAT_SERVERS: Final = ChatServers()


@runtime_checkable
class Resting(Protocol):
    """Who holds memory of this machine between calls, and can give it back."""

    async def rest(self) -> None:
        """Leave the memory to others until the next call. It may be called from any event loop."""
        ...


class SharedGpu:
    """Makes a profile's models take turns."""

    def __init__(
        self, drawn_at: str | None, turnstile: Turnstile = ONE_GPU, chat_servers: ChatServers = CHAT_SERVERS
    ) -> None:
        """Set it up.

        Args:
            drawn_at: The base URL of the server that draws; None where this process does.
            turnstile: Whose turn it is.
            chat_servers: Which can be asked to unload.
        """
        self._drawn_at = drawn_at
        self._turnstile = turnstile
        self._chat_servers = chat_servers

    def is_shared_with(self, chat: Endpoint) -> bool:
        """Whether a chat model is served on the machine that draws. One without a server needs no GPU of ours."""
        return chat.base_url is not None and on_one_machine(chat.base_url, self._drawn_at)

    def chat(self, endpoint: Endpoint, places: Places) -> Places:
        """The places at a chat server: with turns, after which it is asked to unload, where it shares the GPU."""
        if not self.is_shared_with(endpoint):
            return places
        unloading = self._chat_servers.unloading(endpoint)
        if unloading:
            # The server may hold the model from an earlier process.
            self._turnstile.owe("chat", unloading)
        return SidedPlaces(places, self._turnstile, "chat", unloading)

    def role(self, own: ChatRole, called: ChatRole) -> ChatRole:
        """A caller's own chat role, each question with its turn: only the caller knows where it runs.

        Args:
            own: The role; it may be `Resting`.
            called: What is called in its place.
        """
        return SharedRole(called, self._turnstile, _rest_of(own))

    def drawing(self, drawer: ImageGenerator, places: Places) -> Places:
        """The places of an image generator, each with its turn; it may be `Resting`.

        Also where no chat model of the same profile shares the GPU: one of another profile may.
        """
        return SidedPlaces(places, self._turnstile, "drawing", _rest_of(drawer))


class SidedPlaces:
    """Places that are taken in the turn of a side.

    A turn is for one attempt, not for a call with all its repeats: a call may wait a minute for its repeat, and the other
    side need not; if it comes in meanwhile, nothing is lost but the time for loading a model. It is waited for before the
    place is, so that nobody holds a place that the other side's waiting keeps idle, and outside the attempt's time limit.
    """

    def __init__(self, places: Places, turnstile: Turnstile, side: Side, leave: Leave | None) -> None:
        """Take places of a server and the side on which it is called; `leave` gives back what it holds."""
        self._places = places
        self._turnstile = turnstile
        self._side = side
        self._leave = leave

    def here(self) -> AbstractAsyncContextManager[object]:
        """A place for one attempt of the running event loop."""
        return self._take()

    @asynccontextmanager
    async def _take(self) -> AsyncIterator[None]:
        async with self._turnstile.turn(self._side, self._leave), self._places.here():
            yield


class SharedRole:
    """A caller's own chat role. What it does for one question is its own affair, and done in one turn."""

    def __init__(self, inner: ChatRole, turnstile: Turnstile, leave: Leave | None) -> None:
        """Take the role; `leave` gives back what it holds."""
        self._inner = inner
        self._turnstile = turnstile
        self._leave = leave

    async def ask(self, messages: Sequence[BaseMessage], reply_model: type[R]) -> Answer[R]:
        """The role's answer, once it is chat's turn.

        Raises:
            ModelOutage: the model did not answer at all.
            BudgetSpent: the trajectory's limits leave no room for the call.
        """
        # Before anything is reserved: who holds a reservation must not wait for the other side, which may wait for it.
        async with deadline("the chat model"), self._turnstile.turn("chat", self._leave):
            return await self._inner.ask(messages, reply_model)


def _rest_of(part: object) -> Leave | None:
    return part.rest if isinstance(part, Resting) else None
