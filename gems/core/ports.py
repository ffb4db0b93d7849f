"""What the nodes need from the outside: who answers, who draws, what is kept."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, NamedTuple, Protocol, TypeVar, runtime_checkable

from langchain_core.messages import BaseMessage
from pydantic import BaseModel

from gems.core.links import ImageLinks
from gems.core.profiles import Profile
from gems.core.spending import Accounts, Purses
from gems.core.state import RequirementKind, Role, Status, Usage

R = TypeVar("R", bound=BaseModel)
Progress = Callable[[int, int], None]
"""Called with (steps done, steps in all) while an image is drawn; from any thread."""


class Token(NamedTuple):
    """A token of a reply: its text, and the probabilities in [0, 1] of it and of what might have stood in its place."""

    text: str
    chances: Mapping[str, float]


Problem = Literal["", "refused", "empty", "cut off", "unreadable", "over budget"]


@dataclass(frozen=True, slots=True)
class Answer(Generic[R]):
    """A model's answer. Without a readable reply, `problem` says why and `reply` is None."""

    reply: R | None
    usage: Usage = field(default_factory=lambda: Usage(mllm_calls=1))
    thoughts: str = ""
    problem: Problem = ""
    tokens: Sequence[Token] = ()
    """The reply token by token, where the server tells; together they are its text."""


class ChatRole(Protocol):
    """A model in one role."""

    async def ask(self, messages: Sequence[BaseMessage], reply_model: type[R]) -> Answer[R]:
        """Answer with a validated reply, or say what was wrong with it.

        Raises:
            ModelOutage: the model did not answer at all.
            BudgetSpent: the trajectory's limits leave no room for the call.
        """
        ...


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an image model can do."""

    edit: bool = False
    references: int = 0
    """Most reference images that a drawing may follow."""
    seeds: bool = True
    notes: str = ""
    """What the planner and refiner should know about the model's prompts."""


@dataclass(frozen=True, slots=True)
class DrawRequest:
    """Everything one drawing depends on. Sizes are in pixels.

    `source` is the image that an edit starts from; `references` are images that the drawing is to follow. All are PNGs.
    """

    prompt: str
    seed: int
    width: int
    height: int
    source: bytes | None = None
    references: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Drawing:
    """A drawing as encoded bytes (PNG, or what else Pillow reads), with the seconds its making took."""

    png: bytes
    seconds: float
    cost: float = 0.0
    """In US dollars."""
    warnings: tuple[str, ...] = ()
    """What was lost on the way, such as the end of a prompt that is too long."""


class ImageGenerator(Protocol):
    """Draws one image from a prompt."""

    @property
    def name(self) -> str:
        """`provider:model`, for people."""
        ...

    @property
    def identity(self) -> Mapping[str, Any]:
        """JSON values that, with a `DrawRequest`, decide the picture; they go into its key. Never a secret."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """What the model can do."""
        ...

    def check(self, prompt: str, width: int, height: int) -> list[str]:
        """Refuse what cannot be drawn before anything is spent; answer with warnings.

        Raises:
            GemsConfigError: the size or the prompt is outside what the model can do.
        """
        ...

    async def generate(self, request: DrawRequest, progress: Progress | None = None) -> Drawing:
        """Draw. Cancelling the task stops the drawing within a step.

        Raises:
            ModelOutage: the model did not answer; `again` says whether a repeat can help.
            DrawingRefused: the model will not draw this prompt.
            BudgetSpent: the trajectory's limits leave no room for the drawing.
        """
        ...


@runtime_checkable
class PricedByRequest(Protocol):
    """An image generator whose drawings do not all cost the same."""

    def worst_cost(self, request: DrawRequest) -> float:
        """What this drawing costs at most, in US dollars."""
        ...


class ArtifactStore(Protocol):
    """Images by the SHA-256 of their bytes."""

    async def put(self, content: bytes) -> str:
        """Store and answer the id. Storing the same bytes twice is one artifact.

        Raises:
            GemsConfigError: the store cannot be written.
            StoreOutage: it does not answer; the same may work later.
        """
        ...

    async def get(self, artifact: str) -> bytes:
        """The bytes.

        Raises:
            ArtifactCorrupt: missing, or not what the id says.
            StoreOutage: the store does not answer.
        """
        ...

    async def has(self, artifact: str) -> bool:
        """Whether the artifact is stored."""
        ...

    def place(self, artifact: str) -> str:
        """Where it lies, for people: the path of a file on this machine, or the address of an object."""
        ...

    async def check(self) -> None:
        """Make sure that an image can be stored, before one is paid for.

        Raises:
            GemsConfigError: the folder cannot be written, or the disk is full.
            StoreOutage: the store does not answer.
        """
        ...


class Ledger(Accounts, Protocol):
    """Which drawing of a trajectory has already been received, and what it has spent."""

    async def find(self, trajectory_id: str, key: str) -> str | None:
        """The artifact recorded under that key, if any; it may not be stored yet."""
        ...

    async def record(self, trajectory_id: str, key: str, artifact: str) -> None:
        """Remember a drawing that is about to be stored."""
        ...

    async def adopt(self, parent_id: str, child_id: str) -> None:
        """Let a trajectory find what another has received: the one that it is a branch of."""
        ...


class Journal(Protocol):
    """Every question to a model with its answer: what was received is not asked again, and can be read back."""

    async def find(self, trajectory_id: str, key: str) -> dict[str, Any] | None:
        """The call recorded under that key, if any."""
        ...

    async def record(self, trajectory_id: str, key: str, call: Mapping[str, Any]) -> None:
        """Keep a call, JSON values. One that is there already stays."""
        ...

    async def calls(self, trajectory_id: str) -> list[dict[str, Any]]:
        """All calls of a trajectory in the order they were recorded, each with its `key`."""
        ...


@dataclass(frozen=True, slots=True)
class Lesson:
    """What earlier trajectories taught: in which situation, and what to do about it."""

    id: str
    kind: RequirementKind
    backend: str
    """The image model it was learned on, `provider:model`."""
    skills: tuple[str, ...]
    """Skills that were in force."""
    when: str
    advice: str
    uses: int = 0
    """How often it was given to a role."""
    successes: int = 0
    """How often requirements of its kind were met right after."""
    support: int = 1
    """Trajectories it was learned from."""
    created: float = 0.0
    """Seconds since the epoch, as `updated`."""
    updated: float = 0.0


class LessonQuery(NamedTuple):
    """What a role is about to work on."""

    text: str
    """The request, or the questions that were not met."""
    backend: str
    kinds: frozenset[str] = frozenset()
    """Kinds of requirement that matter; empty: all."""
    skills: frozenset[str] = frozenset()


class Lessons(Protocol):
    """Lessons across trajectories. They belong to an owner, and nobody else sees them."""

    async def fitting(self, owner: str, query: LessonQuery, most: int) -> list[Lesson]:
        """The few that fit, the best first."""
        ...

    async def learn(self, owner: str, found: Sequence[Lesson], occasion: str = "") -> None:
        """Keep what a trajectory taught. What is known already is merged with it; what contradicts it is settled.

        An `occasion` counts once: what is said of it again, by a process that takes up another's work, changes nothing.
        """
        ...

    async def credit(self, owner: str, outcomes: Mapping[str, bool], occasion: str = "") -> None:
        """Count a use of each lesson by its id, and whether it helped; an `occasion` once. What does not help fades."""
        ...

    async def check(self) -> None:
        """Make sure that lessons can be read, before anything is spent.

        Raises:
            GemsConfigError: the store cannot be used, or is of a newer version.
        """
        ...

    async def all(self, owner: str) -> list[Lesson]:
        """All of an owner's, the best first, faded ones too."""
        ...

    async def edit(self, owner: str, lesson_id: str, *, when: str | None = None, advice: str | None = None) -> Lesson:
        """Change a lesson's words.

        Raises:
            GemsConfigError: the owner has no such lesson.
        """
        ...

    async def delete(self, owner: str, lesson_id: str) -> None:
        """Forget a lesson.

        Raises:
            GemsConfigError: the owner has no such lesson.
        """
        ...


class RunRecord(NamedTuple):
    """A line of the runs index. Times are seconds since the epoch; `score` is in [0, 1]."""

    thread_id: str
    trajectory_id: str
    prompt: str
    profile: str
    status: Status
    stop_reason: str | None
    score: float | None
    rounds: int
    best: str | None
    started: float
    updated: float
    owner: str = ""
    """Who began it, by the server's tokens; empty: whoever has this machine."""


class RunsIndex(Protocol):
    """All runs of this machine, newest first."""

    async def record(self, run: RunRecord) -> None:
        """Insert or update the line of the thread. A thread stays its owner's."""
        ...

    async def recent(
        self, limit: int, *, offset: int = 0, owners: Collection[str] | None = None, search: str = ""
    ) -> list[RunRecord]:
        """The last runs after `offset` others.

        Args:
            limit: How many at most.
            offset: How many later ones are passed over.
            owners: Whose; None: everybody's.
            search: What their prompts hold, in small or capital letters; empty: anything.
        """
        ...

    async def find(self, thread_id: str) -> RunRecord | None:
        """The line of a thread."""
        ...

    async def owners_of(self, trajectory_id: str) -> set[str]:
        """Whose the threads are that have a trajectory."""
        ...


class SkillCard(NamedTuple):
    """What the planner sees of a skill before choosing."""

    name: str
    description: str


class SkillText(NamedTuple):
    """A skill read whole: the text for the model, a digest of it, and the files that were opened."""

    name: str
    instructions: str
    digest: str
    files: tuple[str, ...]


class SkillLibrary(Protocol):
    """Skills, read on demand."""

    def cards(self) -> list[SkillCard]:
        """Names and descriptions only."""
        ...

    def warnings(self) -> list[str]:
        """What was wrong with skills that were skipped: file, line, reason."""
        ...

    def read(self, name: str) -> SkillText:
        """The whole text.

        Raises:
            GemsConfigError: no skill of that name.
        """
        ...


class Prices(NamedTuple):
    """What models cost, in US dollars: `input` and `output` a million tokens of the dearest role, `image` a drawing."""

    input: float
    output: float
    image: float
    call: float = 0.0
    """The most that one look at a picture may cost."""


@dataclass(frozen=True, slots=True)
class Models:
    """Who answers and who draws, for one profile."""

    roles: Mapping[Role, ChatRole]
    images: ImageGenerator
    mllm: str = "your own"
    """`provider:model` of who answers, for people."""
    overlap: bool = True
    """Whether chat and drawing may run at the same time; not on one shared GPU."""
    image_side: int = 1024
    """Longest side, in pixels, of the images that are shown to the roles."""
    prices: Prices | None = None
    """What calls cost; None where nobody said."""
    call_tokens: int = 0
    """The most tokens that one look at a picture may take, read and written."""
    closing: Sequence[Callable[[], Awaitable[None]]] = ()
    """Each closes connections of the running event loop."""

    @property
    def names(self) -> dict[str, str]:
        """Who answers and who draws, as a trajectory keeps it."""
        return {"mllm": self.mllm, "images": self.images.name}

    async def aclose(self) -> None:
        """Close the connections of the running event loop; the models can be used again all the same."""
        for close in self.closing:
            await close()


class Services(Protocol):
    """Everything the nodes use. Each part may be made when it is first asked for, and may block then."""

    @property
    def artifacts(self) -> ArtifactStore:
        """Where images are kept."""
        ...

    @property
    def ledger(self) -> Ledger:
        """Which drawings were received."""
        ...

    @property
    def journal(self) -> Journal:
        """Questions to models, with their answers."""
        ...

    @property
    def lessons(self) -> Lessons:
        """What earlier trajectories taught."""
        ...

    @property
    def owner(self) -> str:
        """Whose lessons are meant where the server names no user."""
        ...

    @property
    def runs(self) -> RunsIndex:
        """The index of runs."""
        ...

    @property
    def links(self) -> ImageLinks:
        """Where others see images."""
        ...

    @property
    def skills(self) -> SkillLibrary:
        """What the planner may read."""
        ...

    @property
    def purses(self) -> Purses:
        """What each trajectory has spent in this process."""
        ...

    @property
    def prompts(self) -> Mapping[str, str]:
        """Texts that replace the built-in instructions, by task."""
        ...

    def models(self, profile: str) -> Models:
        """The models of a profile, made once.

        Raises:
            GemsConfigError: no such profile or provider, or a key is missing.
        """
        ...

    def defaults(self, profile: str | None) -> Profile:
        """The profile of that name, or the default one; its values fill what a run's context leaves out.

        Raises:
            GemsConfigError: no such profile.
        """
        ...
