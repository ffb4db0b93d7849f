"""A role that does not count for itself, counted: a caller's own, or one that answers from a tape."""

from __future__ import annotations

from collections.abc import Sequence

from langchain_core.messages import BaseMessage

from gems.core.ports import Answer, ChatRole, R
from gems.core.spending import Spend, deadline, reserve, reserved_already


class CountedRole:
    """Reserves one call before each question, and books what the answer says it took."""

    def __init__(self, inner: ChatRole) -> None:
        """Count what `inner` spends."""
        self._inner = inner

    async def ask(self, messages: Sequence[BaseMessage], reply_model: type[R]) -> Answer[R]:
        """The role's answer.

        Raises:
            ModelOutage: the model did not answer at all.
            BudgetSpent: the trajectory's limits leave no room for the call.
        """
        async with deadline("the chat model"), reserve(Spend(calls=1)) as bill:
            with reserved_already():
                answer = await self._inner.ask(messages, reply_model)
            bill.pay(Spend(calls=answer.usage.get("mllm_calls", 0), cost=answer.usage.get("cost", 0.0)))
        return answer
