"""The services of this machine, each made when it is first needed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path

from langchain_core.language_models import BaseChatModel

from gems.backends.chat.role import LangChainRole
from gems.backends.services import make_models
from gems.core.errors import GemsConfigError
from gems.core.links import ImageLinks
from gems.core.ports import (
    ArtifactStore,
    ChatRole,
    ImageGenerator,
    Journal,
    Ledger,
    Lessons,
    Models,
    RunsIndex,
    Services,
    SkillLibrary,
)
from gems.core.profiles import Profile
from gems.core.settings import Settings, load_settings
from gems.core.spending import Purses
from gems.core.state import ROLES, Role
from gems.memory import SqlJournal, SqlLedger, SqlRuns
from gems.memory.holdings import SqlHoldings
from gems.memory.owned import OwnedArtifacts, current_user
from gems.memory.stores import Stores, images_of, stores_of
from gems.skills import FolderSkills

OwnChat = BaseChatModel | ChatRole | Mapping[Role, BaseChatModel | ChatRole]


class MachineServices:
    """What the settings say. Without any given, they are read when first needed, not on import."""

    def __init__(self, settings: Settings | None = None) -> None:
        """Use these settings, or those of the current folder and environment."""
        self._given = settings
        self._purses = Purses(lambda: self.ledger)
        self._models: dict[str, Models] = {}
        self._making = threading.Lock()

    @cached_property
    def settings(self) -> Settings:
        """The machine's settings."""
        return self._given or load_settings()

    @cached_property
    def stores(self) -> Stores:
        """Where all but the images is kept."""
        return stores_of(self.settings)

    @cached_property
    def store(self) -> ArtifactStore:
        """Images, whosever they are."""
        return images_of(self.settings, lambda: self.stores)

    @cached_property
    def artifacts(self) -> ArtifactStore:
        """Images; in a run that a server makes for one of its users, the user's."""
        return self.artifacts_of(current_user) if self.settings.tokens else self.store

    def artifacts_of(self, user: Callable[[], str | None]) -> ArtifactStore:
        """The images of one user of a server."""
        return OwnedArtifacts(self.store, self.holdings, self.settings.owner, user)

    @cached_property
    def holdings(self) -> SqlHoldings:
        """Which images belong to which user."""
        return SqlHoldings(self.stores.database("holdings"))

    @cached_property
    def links(self) -> ImageLinks:
        """Where others see images."""
        return ImageLinks(self.settings.public_url, self.settings.tokens)

    @cached_property
    def ledger(self) -> Ledger:
        """Received drawings."""
        return SqlLedger(self.stores.database("ledger"))

    @cached_property
    def journal(self) -> Journal:
        """Questions to models, with their answers."""
        return SqlJournal(self.stores.database("journal"))

    @cached_property
    def lessons(self) -> Lessons:
        """What earlier trajectories taught."""
        # Only those who use lessons load the embedding.
        from gems.memory.lessons import SqlLessons

        return SqlLessons(self.stores.database("lessons"))

    @property
    def owner(self) -> str:
        """Whose lessons are meant where the server names no user."""
        return self.settings.owner

    @cached_property
    def runs(self) -> RunsIndex:
        """The index of runs."""
        return SqlRuns(self.stores.database("runs"))

    @cached_property
    def skills(self) -> SkillLibrary:
        """Built-in skills and the user's own."""
        return FolderSkills(self.settings.skills)

    @property
    def purses(self) -> Purses:
        """What each trajectory has spent in this process."""
        return self._purses

    @cached_property
    def prompts(self) -> Mapping[str, str]:
        """Texts of `<task>.md` files that replace built-in instructions."""
        return read_prompts(self.settings.prompts) if self.settings.prompts else {}

    def models(self, profile: str) -> Models:
        """The models of a profile, made once."""
        with self._making:
            if profile not in self._models:
                self._models[profile] = self._make(profile)
            return self._models[profile]

    def _make(self, profile: str) -> Models:
        return make_models(self.settings, profile)

    async def aclose(self) -> None:
        """Close the connections that models made in the running event loop; they can be used again all the same."""
        for models in list(self._models.values()):
            await models.aclose()

    def defaults(self, profile: str | None) -> Profile:
        """The profile of that name, or the configured one."""
        return self.settings.resolve(profile)


class OwnServices(MachineServices):
    """The machine's services, with the caller's own in place of some."""

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        chat: OwnChat | None = None,
        images: ImageGenerator | None = None,
        artifacts: ArtifactStore | None = None,
        ledger: Ledger | None = None,
        journal: Journal | None = None,
        lessons: Lessons | None = None,
        runs: RunsIndex | None = None,
        skills: SkillLibrary | None = None,
    ) -> None:
        """Take what is given; the rest is the machine's.

        Args:
            settings: The machine's settings; default: those of the current folder and environment.
            chat: One chat model for all roles, or one for each role named; any `BaseChatModel` or `ChatRole`.
            images: Who draws.
            artifacts: Where images are kept.
            ledger: Which drawings were received.
            journal: Questions to models, with their answers.
            lessons: What earlier trajectories taught.
            runs: The index of runs.
            skills: What the planner may read.
        """
        super().__init__(settings)
        self._chat = chat
        self._images = images
        given = {
            "artifacts": artifacts,
            "ledger": ledger,
            "journal": journal,
            "lessons": lessons,
            "runs": runs,
            "skills": skills,
        }
        # Values in the instance's dictionary win over cached properties of the same name.
        self.__dict__.update({name: part for name, part in given.items() if part is not None})

    def _make(self, profile: str) -> Models:
        return make_models(self.settings, profile, self._own_roles(), self._images)

    def _own_roles(self) -> dict[Role, ChatRole]:
        if self._chat is None:
            return {}
        if isinstance(self._chat, Mapping):
            return {role: as_role(model) for role, model in self._chat.items()}
        return dict.fromkeys(ROLES, as_role(self._chat))


def as_role(model: BaseChatModel | ChatRole) -> ChatRole:
    """A LangChain chat model as a role; a role stays what it is."""
    return LangChainRole(model) if isinstance(model, BaseChatModel) else model


def read_prompts(folder: Path) -> dict[str, str]:
    """The `.md` files of a folder by their stems.

    Raises:
        GemsConfigError: the folder cannot be read.
    """
    try:
        return {
            path.stem: path.read_text(encoding="utf-8") for path in sorted(folder.iterdir()) if path.suffix == ".md"
        }
    except (OSError, UnicodeDecodeError) as error:
        raise GemsConfigError(f"prompts folder {folder}: {error}") from error


def make_services(settings: Settings | None = None) -> Services:
    """The services that the settings describe."""
    return MachineServices(settings)
