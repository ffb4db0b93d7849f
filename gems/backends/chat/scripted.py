"""A chat role that says what it is told to, for tests and examples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from langchain_core.messages import BaseMessage

from gems.core.messages import TaskInput, read_task
from gems.core.ports import Answer, R
from gems.core.state import Usage

Reply = dict[str, Any] | Exception
Script = Sequence[Reply] | Callable[[TaskInput], Reply]


class ScriptedRole:
    """Answers each task from its script, and remembers what it was asked."""

    def __init__(self, scripts: Mapping[str, Script]) -> None:
        """Take the scripts.

        Args:
            scripts: By task: replies in order, or a function of the task's input. An exception is raised; a reply that does
                not fit the reply model makes an `unreadable` answer.
        """
        self._scripts = {
            task: script if callable(script) else _in_order(task, script) for task, script in scripts.items()
        }
        self.history: list[TaskInput] = []

    def asked(self, task: str) -> list[TaskInput]:
        """What was asked of one task, in order."""
        return [item for item in self.history if item.task == task]

    async def ask(self, messages: Sequence[BaseMessage], reply_model: type[R]) -> Answer[R]:
        """The next reply of the task.

        Raises:
            LookupError: there is no script for the task, or it has run out.
        """
        task = read_task(messages)
        self.history.append(task)
        if task.task not in self._scripts:
            raise LookupError(f"no script for the task {task.task!r}")
        reply = self._scripts[task.task](task)
        if isinstance(reply, Exception):
            raise reply
        usage = Usage(mllm_calls=1, images_sent=len(task.images))
        try:
            return Answer(reply_model.model_validate(reply), usage)
        except ValueError:
            return Answer(None, usage, problem="unreadable")


def _in_order(task: str, replies: Sequence[Reply]) -> Callable[[TaskInput], Reply]:
    rest = list(replies)

    def next_reply(_: TaskInput) -> Reply:
        if not rest:
            raise LookupError(f"the script of the task {task!r} has run out")
        return rest.pop(0)

    return next_reply
