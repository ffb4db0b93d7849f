"""`gems review`: the answer of a person to a run that waits for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from rich.console import Console

from gems.app.answering import Action, Draft
from gems.app.commands import perform
from gems.app.outcome import Outcome
from gems.app.session import Target, open_session
from gems.app.threads import check_thread_id
from gems.app.waiting import Question
from gems.core.errors import GemsConfigError
from gems.core.ports import Services


class Reply(NamedTuple):
    """What was said by options; with none of them, the person is asked."""

    action: Action | None = None
    prompts: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    add: tuple[str, ...] = ()
    overrule: tuple[str, ...] = ()
    """Such as `r3=met` or `2b:r3=unmet`."""
    note: str | None = None
    """Why verdicts are overruled."""
    best: str | None = None
    feedback: str | None = None

    def answer(self, question: Question) -> dict[str, Any]:
        """The answer as the graph takes it.

        Raises:
            GemsConfigError: it does not fit the question.
        """
        draft = Draft(question)
        if self.prompts:
            draft.prompts(self.prompts)
        # A requirement may take the place of one that is dropped, so those that come are noted first.
        for text in self.add:
            draft.add(text)
        for requirement in self.drop:
            draft.drop(requirement)
        if self.note is not None and not self.overrule:
            raise GemsConfigError("--note says why a verdict is overruled: give --overrule too, or use --feedback")
        for ruling in self.overrule:
            draft.overrule(ruling, self.note or "")
        if self.best is not None:
            draft.best(self.best)
        if self.feedback is not None:
            draft.feedback(self.feedback)
        return draft.answer(self.action or "approve")


def review(reply: Reply, options: Mapping[str, Any], target: Target, services: Services | None = None) -> int:
    """`gems review`, with these services or the machine's.

    Args:
        reply: The answer; an empty one puts the question to the person at the terminal.
        options: Fields of `GemsContext`; those that are None were not given.
        target: The thread, and how to answer.
        services: What the nodes use.
    """

    async def work(console: Console) -> Outcome:
        check_thread_id(target.thread_id)
        async with open_session(target, options, console, services) as session:
            return await session.answer(reply.answer if reply != Reply() else None)

    return perform(target, work)
