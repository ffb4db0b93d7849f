"""A role that does not count for itself, counted: a caller's own, or one that answers from a tape."""

from __future__ import annotations

from collections.abc import Sequence

from langchain_core.messages import BaseMessage

from gems.core.ports import Answer, ChatRole, R
from gems.core.spending import Spend, deadline, reserve, reserved_already, tokens_of


class CountedRole:
    """Reserves one call before each question, and books what the answer says it took.

    How many tokens that will be nobody knows before, so that a limit of tokens can be passed by one answer.
    """

    def __init__(self, inner: ChatRole) -> None:
        """Count what `inner` spends."""
        self._inner = inner

    async def ask(self, messages: Sequence[BaseMessage], reply_model: type[R]) -> Answer[R]:
        """The role's answer.

        Raises:
            ModelOutage: the model did not answer at all.
            BudgetSpent: the trajectory's limits leave no room for the call.
        """
        async with deadline("the chat model"), reserve(Spend(calls=1, tokens=1)) as bill:
            with reserved_already():
                answer = await self._inner.ask(messages, reply_model)
            usage = answer.usage
            bill.pay(Spend(usage.get("mllm_calls", 0), cost=usage.get("cost", 0.0), tokens=tokens_of(usage)))
        return answer
