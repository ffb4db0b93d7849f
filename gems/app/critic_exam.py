"""An examination of the critic: pictures of known truth go through the loop's own critic node; its errors are counted."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from langchain_core.messages import BaseMessage
from langgraph.graph import END, START, StateGraph

from gems.app.exam_pictures import KINDS, ExamPicture, ExamQuestion, make_pictures
from gems.core.context import Size
from gems.core.errors import BudgetSpent, GemsError, GemsRunError, ModelOutage
from gems.core.links import ImageLinks
from gems.core.ports import (
    Answer,
    ArtifactStore,
    ChatRole,
    Journal,
    Ledger,
    Lessons,
    Models,
    R,
    RunsIndex,
    Services,
    SkillLibrary,
)
from gems.core.profiles import Profile
from gems.core.spending import Purses
from gems.core.state import SCHEMA, Attempt, GemsState, Options, RequirementKind, Role, Usage, VerdictName, add_usage
from gems.graph.bridge import NodeRunnable
from gems.nodes.critic import make_critic

LEAST_SIDE: Final = 384
"""Pixels: on a smaller picture nobody can read the sign."""
_MOST_CALLS: Final = 10
"""For one picture: one for its nine questions, and one for each that is doubtful."""

Ending = Literal["done", "outage", "budget", "stopped"]


@dataclass(frozen=True, slots=True)
class Tally:
    """Answers about one kind of requirement: those that pictures met, and those they did not."""

    met: int = 0
    false_rejects: int = 0
    met_unknown: int = 0
    unmet: int = 0
    false_accepts: int = 0
    unmet_unknown: int = 0

    def plus(self, other: Tally) -> Tally:
        """The sum of both."""
        return Tally(
            self.met + other.met,
            self.false_rejects + other.false_rejects,
            self.met_unknown + other.met_unknown,
            self.unmet + other.unmet,
            self.false_accepts + other.false_accepts,
            self.unmet_unknown + other.unmet_unknown,
        )


@dataclass(frozen=True, slots=True)
class ExamPlan:
    """What is examined. Limits that are None are the profile's."""

    profile: str
    pictures: int = 40
    seed: int = 0
    max_calls: int | None = None
    max_cost: float | None = None


@dataclass(frozen=True, slots=True)
class ExamResult:
    """What came out, also of a part. A picture about which a call failed counts in `usage` alone."""

    judged: int = 0
    """Pictures."""
    tallies: Mapping[RequirementKind, Tally] = field(default_factory=lambda: {kind: Tally() for kind in KINDS.values()})
    problems: Mapping[str, int] = field(default_factory=dict)
    """Replies that could not be used, by what was wrong with them. Their questions count as unknown."""
    usage: Usage = field(default_factory=Usage)
    seconds: float = 0.0
    ending: Ending = "done"
    why: str = ""
    """What ended it early."""

    @property
    def total(self) -> Tally:
        """All kinds together."""
        total = Tally()
        for tally in self.tallies.values():
            total = total.plus(tally)
        return total


class CriticExam:
    """One examination. `result` grows with each picture, so that one that is stopped has its part of it."""

    def __init__(self, services: Services, plan: ExamPlan, judged: Callable[[int], None] = lambda _: None) -> None:
        """Prepare it.

        Args:
            services: What the critic uses. The pictures go into its artifact store: give one that is thrown away.
            plan: What is examined.
            judged: Called with the number of pictures judged so far.
        """
        self._services = services
        self._plan = plan
        self.on_judged = judged
        """Called with the number of pictures judged so far."""
        self._profile = services.defaults(plan.profile)
        self._trajectory_id = uuid.uuid4().hex
        self._lines: list[asyncio.Task[None]] = []
        self.options = _options(self._profile, plan)
        """The options in force, limits among them."""
        self.side = max(LEAST_SIDE, min(Size.parse(self._profile.size)))
        """Width and height of the pictures, in pixels."""
        self.result = ExamResult()

    async def take(self) -> ExamResult:
        """Put every picture to the critic, as many at a time as its server takes and `max_calls` is certain to finish.

        Raises:
            GemsConfigError: the critic cannot work, e.g. for a wrong key, and nothing was measured.
        """
        self._started = time.time()
        pictures = make_pictures(self._plan.pictures, self._plan.seed, self.side)
        turn = asyncio.Lock()
        at_once = min(self._plan.pictures, _at_once(self._profile, self.options["max_calls"]))
        self._lines = [asyncio.create_task(self._work(pictures, turn)) for _ in range(at_once)]
        outcomes = await asyncio.gather(*self._lines, return_exceptions=True)
        self.result = replace(self.result, seconds=time.time() - self._started)
        for outcome in outcomes:
            if isinstance(outcome, Exception) and not (self.result.judged and isinstance(outcome, GemsError)):
                raise outcome
        return self.result

    def stop(self) -> None:
        """End it now; `take` answers with what was measured."""
        self._end("stopped", "you stopped it")
        for line in self._lines:
            line.cancel()

    def _end(self, ending: Ending, why: str) -> None:
        if self.result.ending == "done":
            self.result = replace(self.result, ending=ending, why=why)

    async def _work(self, pictures: Iterator[ExamPicture], turn: asyncio.Lock) -> None:
        while self.result.ending == "done":
            async with turn:
                picture = await asyncio.to_thread(next, pictures, None)
            if picture is None:
                return
            try:
                await self._judge(picture)
            except Exception as error:
                self._end("outage", str(error))
                raise

    async def _judge(self, picture: ExamPicture) -> None:
        watch = _Watch()
        try:
            verdicts = await self._verdicts(picture, watch)
        except GemsRunError as error:
            verdicts, watch.error = {}, watch.error or error
        finally:
            self.result = replace(self.result, usage=add_usage(self.result.usage, watch.usage))
        if watch.error is not None:
            self._end("budget" if isinstance(watch.error, BudgetSpent) else "outage", str(watch.error))
            return
        self.result = replace(
            self.result,
            judged=self.result.judged + 1,
            tallies=_added(self.result.tallies, picture.questions, verdicts),
            problems=Counter(self.result.problems) + watch.problems,
        )
        self.on_judged(self.result.judged)

    async def _verdicts(self, picture: ExamPicture, watch: _Watch) -> dict[str, VerdictName]:
        """What the critic node of the loop, with its purse open, says of the picture."""
        services = _WatchedServices(self._services, watch)
        artifact = await services.artifacts.put(picture.png)
        models = await asyncio.to_thread(services.models, self.options["profile"])
        attempt = Attempt(id="1.1", round=1, action="rewrite", prompt="", seed=0, parent=None, artifact=artifact)
        state: GemsState = {
            "schema": SCHEMA,
            "trajectory_id": self._trajectory_id,
            "request": {"prompt": ""},
            "options": {**self.options, "models": models.names},
            "requirements": [it.requirement for it in picture.questions],
            "round": 1,
            "attempts": [attempt],
            "best": None,
            "usage": {},
            "spans": [[self._started, time.time()]],
        }
        critic = NodeRunnable(make_critic(services), "critic", services)
        graph = StateGraph(GemsState).add_node("critic", critic).add_edge(START, "critic").add_edge("critic", END)
        judged: Attempt = (await graph.compile().ainvoke(state))["attempts"][0]
        return {name: verdict["verdict"] for name, verdict in judged["verdicts"].items()}


def _added(
    tallies: Mapping[RequirementKind, Tally], questions: Sequence[ExamQuestion], verdicts: Mapping[str, VerdictName]
) -> dict[RequirementKind, Tally]:
    added = dict(tallies)
    for requirement, met in questions:
        verdict = verdicts[requirement["id"]]
        known = verdict in ("met", "unmet")
        answer = (
            Tally(met=1, false_rejects=verdict == "unmet", met_unknown=not known)
            if met
            else Tally(unmet=1, false_accepts=verdict == "met", unmet_unknown=not known)
        )
        added[requirement["kind"]] = added[requirement["kind"]].plus(answer)
    return added


def _at_once(profile: Profile, max_calls: int | None) -> int:
    own = profile.roles.get("critic")
    served = ((own and own.chat) or profile.chat).concurrency
    # Else the calls could be spread over pictures of which none is finished.
    return served if max_calls is None else max(1, min(served, max_calls // _MOST_CALLS))


def _options(profile: Profile, plan: ExamPlan) -> Options:
    width, height = Size.parse(profile.size)
    return Options(
        profile=plan.profile,
        models={},
        mode=profile.mode,
        max_rounds=1,
        max_images=None,
        max_calls=plan.max_calls or profile.max_calls,
        max_tokens=profile.max_tokens,
        max_seconds=profile.max_seconds,
        max_cost=plan.max_cost or profile.max_cost,
        critic="single" if profile.mode == "paper" else profile.critic.mode,
        patience=None,
        candidates=1,
        seed=plan.seed,
        width=width,
        height=height,
        overlap=True,
        skills=[],
        review="none",
        memory="none",
        lessons=False,
    )


# The critic is watched from below: its node turns an outage into unknown verdicts, which here would pass for poor sight.


@dataclass(slots=True)
class _Watch:
    """What went through the critic's model for one picture."""

    usage: Usage = field(default_factory=Usage)
    problems: Counter[str] = field(default_factory=Counter)
    error: GemsRunError | None = None


class _WatchedRole:
    """A role whose answers are noted."""

    def __init__(self, inner: ChatRole, watch: _Watch) -> None:
        self._inner = inner
        self._watch = watch

    async def ask(self, messages: Sequence[BaseMessage], reply_model: type[R]) -> Answer[R]:
        try:
            answer = await self._inner.ask(messages, reply_model)
        except (ModelOutage, BudgetSpent) as error:
            self._watch.error = self._watch.error or error
            raise
        self._watch.usage = add_usage(self._watch.usage, answer.usage)
        if answer.problem == "over budget":
            self._watch.error = self._watch.error or BudgetSpent("a limit left no room for another call", "")
        elif answer.problem:
            self._watch.problems[answer.problem] += 1
        return answer


class _WatchedServices:
    """The same services, with the critic watched."""

    def __init__(self, inner: Services, watch: _Watch) -> None:
        self._inner = inner
        self._watch = watch

    @property
    def artifacts(self) -> ArtifactStore:
        return self._inner.artifacts

    @property
    def ledger(self) -> Ledger:
        return self._inner.ledger

    @property
    def journal(self) -> Journal:
        return self._inner.journal

    @property
    def lessons(self) -> Lessons:
        return self._inner.lessons

    @property
    def links(self) -> ImageLinks:
        return self._inner.links

    @property
    def owner(self) -> str:
        return self._inner.owner

    @property
    def runs(self) -> RunsIndex:
        return self._inner.runs

    @property
    def skills(self) -> SkillLibrary:
        return self._inner.skills

    @property
    def purses(self) -> Purses:
        return self._inner.purses

    @property
    def prompts(self) -> Mapping[str, str]:
        return self._inner.prompts

    def models(self, profile: str) -> Models:
        models = self._inner.models(profile)
        roles: dict[Role, ChatRole] = {**models.roles, "critic": _WatchedRole(models.roles["critic"], self._watch)}
        return replace(models, roles=roles)

    def defaults(self, profile: str | None) -> Profile:
        return self._inner.defaults(profile)
