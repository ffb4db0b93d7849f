"""Any LangChain chat model as a role: asks for JSON, validates it, asks once for a repair, counts what it cost."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Generic, NamedTuple
from weakref import WeakKeyDictionary

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage

from gems.backends.chat.abilities import Abilities, Output
from gems.backends.chat.errors import explain, refusal_of, status_of
from gems.backends.chat.parsing import UnreadableReply, parse_reply
from gems.backends.chat.reading import images_in, places_of, problem_of, thoughts_of, tokens_of
from gems.backends.chat.schema import plain_schema
from gems.backends.chat.server import IMAGE_TOKENS, Server, Wishes, tokens_in
from gems.backends.chat.traced import call_model
from gems.backends.serving import Gate, Turns
from gems.core.errors import BudgetSpent, GemsConfigError, ModelOutage
from gems.core.ports import Answer, Problem, R
from gems.core.profiles import ChatOptions
from gems.core.spending import Spend
from gems.core.state import Usage, add_usage

REPAIR: Final = (
    "Your reply could not be read: {problem}. Reply again with one JSON object that fits the schema, and nothing else."
)
SCHEMA: Final = "Reply with one JSON object that fits this JSON schema, and nothing else:\n{schema}"
MOST_REPEATED: Final = 4000
"""Characters of an unreadable reply that are shown again: the model should mend it, not read it all."""
MOST_TOKENS: Final = ChatOptions().max_tokens
"""What a reply may take where no limit is set."""

# The openai client raises these where others answer; they are answers all the same.
_UNFINISHED: Final = {
    "LengthFinishReasonError": AIMessage("", response_metadata={"finish_reason": "length"}),
    "ContentFilterFinishReasonError": AIMessage("", additional_kwargs={"refusal": "content filter"}),
}


class _Question(NamedTuple):
    """What is asked, and the form of its reply."""

    messages: list[BaseMessage]
    name: str
    schema: Mapping[str, Any]


class _Said(NamedTuple):
    message: AIMessage
    abilities: Abilities
    usage: Usage


class _Reading(NamedTuple, Generic[R]):
    """An answer, and what is wrong with a reply that a repair may mend."""

    answer: Answer[R]
    unreadable: str


class _Unsupported(GemsConfigError):
    """The server refused an option of the call; `instead` may do."""

    def __init__(self, instead: Abilities) -> None:
        super().__init__("the server does not take an option of the call")
        self.instead = instead


class _Broken(ModelOutage):
    """The server failed over an option of the call, after who knows how much work; `instead` may do."""

    def __init__(self, instead: Abilities) -> None:
        super().__init__("the server fails over an option of the call")
        self.instead = instead


class LangChainRole:
    """A `ChatRole` over a `BaseChatModel`."""

    def __init__(
        self,
        model: BaseChatModel | Callable[[], BaseChatModel],
        *,
        output: Output = "text",
        gate: Gate | None = None,
        server: Server | None = None,
        close: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Wrap a model.

        Args:
            model: Any chat model of LangChain; for the critic it must read images. A function makes one for each event loop:
                HTTP clients cannot be used from a second one.
            output: How JSON is asked for, besides the schema in the instructions, which every model understands:
                `json_schema` and `json_object` send OpenAI's `response_format`. A server has its own say.
            gate: The way to the model; default: no repeats, and no waiting for a turn.
            server: What is known of who answers; default: a caller's own model, which costs nothing.
            close: Closes the connections that the running event loop's model has.
        """
        self._model = model
        self._made: WeakKeyDictionary[asyncio.AbstractEventLoop, BaseChatModel] = WeakKeyDictionary()
        self._gate = gate or Gate("the chat model", turns=Turns(1000), seconds=600, retries=0, paid_retries=0)
        self._server = server or Server(Wishes(output=output))
        self._close = close

    async def ask(self, messages: Sequence[BaseMessage], reply_model: type[R]) -> Answer[R]:
        """Answer with a validated reply; ask once more when the first cannot be read.

        Raises:
            ModelOutage: the model did not answer at all.
            BudgetSpent: the trajectory's limits leave no room for the call.
            GemsConfigError: the key, the model's name or the call was refused.
        """
        schema = plain_schema(reply_model)
        question = _Question(_instructed(messages, schema), reply_model.__name__, schema)
        first = await self._call(question)
        answer, unreadable = _read(first, reply_model)
        last = first
        if unreadable:
            shown = next(place for place in places_of(first.message) if place.strip())[:MOST_REPEATED]
            repair = [AIMessage(shown), HumanMessage(REPAIR.format(problem=unreadable))]
            try:
                last = await self._call(question._replace(messages=[*question.messages, *repair]))
            except BudgetSpent:
                return Answer(None, first.usage, answer.thoughts, "over budget")
            except (ModelOutage, GemsConfigError):
                # The first call was answered and paid for: what is known is that nobody could read it.
                return answer
            last = last._replace(usage=add_usage(first.usage, last.usage))
            answer, _ = _read(last, reply_model)
        if answer.problem in ("", "unreadable", "empty"):
            await self._server.heard(last.abilities, readable=not answer.problem)
        return answer

    async def aclose(self) -> None:
        """Close what the running event loop's model holds; asked again, it is made anew."""
        self._made.pop(asyncio.get_running_loop(), None)
        if self._close:
            await self._close()

    async def _call(self, question: _Question) -> _Said:
        """One answer. An option that the server does not take is left out, and the question asked again at once."""
        thought, tried = self._server.abilities, list[Abilities]()
        abilities = thought
        while True:
            tried.append(abilities)
            try:
                said = await self._through_gate(question, abilities, tried)
            except (_Unsupported, _Broken) as error:
                abilities = error.instead
                continue
            await self._server.learn(thought, abilities)
            return said

    async def _through_gate(self, question: _Question, abilities: Abilities, tried: Sequence[Abilities]) -> _Said:
        server, images = self._server, images_in(question.messages)
        options = server.options(abilities, question.name, question.schema)
        asked = tokens_in("".join(message.text for message in question.messages) + json.dumps(options))
        asked += images * IMAGE_TOKENS
        most = server.wishes.max_tokens or MOST_TOKENS
        worst = Spend(calls=1, cost=server.cost(asked, most), tokens=asked + most)
        seconds = 0.0

        async def attempt() -> AIMessage:
            nonlocal seconds
            started = time.monotonic()
            try:
                return await call_model(
                    self._model_here(),
                    question.messages,
                    options,
                    name=question.name,
                    explain=lambda error: explain(error, server.endpoint),
                )
            except Exception as error:
                if answered := _answer_in(error):
                    return answered
                if instead := server.lesser(abilities, error, tried):
                    raise (_Broken if (status_of(error) or 0) >= 500 else _Unsupported)(instead) from error
                # Without its cause: a server's own words may repeat the key, and tracebacks are logged.
                raise explain(error, server.endpoint) from None
            finally:
                seconds = time.monotonic() - started

        message = await self._gate.call(attempt, worst, lambda said: self._spent(said, asked))
        told = message.usage_metadata
        usage = Usage(
            mllm_calls=1,
            input_tokens=told["input_tokens"] if told else 0,
            output_tokens=told["output_tokens"] if told else 0,
            images_sent=images,
            mllm_seconds=seconds,
        )
        if server.endpoint and server.endpoint.price:
            usage["cost"] = self._spent(message, asked).cost
        return _Said(message, abilities, usage)

    def _spent(self, message: AIMessage, asked: int) -> Spend:
        """What the call took by the server's count, or by an estimate where it does not count."""
        told = message.usage_metadata
        if told and told["total_tokens"]:
            # Some servers count thoughts in the total alone.
            read, written = (
                told["input_tokens"],
                max(told["output_tokens"], told["total_tokens"] - told["input_tokens"]),
            )
        else:
            read, written = asked, tokens_in(message.text + thoughts_of(message))
        return Spend(calls=1, cost=self._server.cost(read, written), tokens=read + written)

    def _model_here(self) -> BaseChatModel:
        if isinstance(self._model, BaseChatModel):
            return self._model
        loop = asyncio.get_running_loop()
        if loop not in self._made:
            self._made[loop] = self._model()
        return self._made[loop]


def _instructed(messages: Sequence[BaseMessage], schema: Mapping[str, Any]) -> list[BaseMessage]:
    """The messages with the schema in their instructions.

    Always, because servers that constrain decoding by a schema do not show it to the model, and some take it and then do
    nothing.
    """
    told = SCHEMA.format(schema=json.dumps(schema))
    if isinstance(messages[0], SystemMessage):
        return [SystemMessage(f"{messages[0].text}\n\n{told}"), *messages[1:]]
    return [SystemMessage(told), *messages]


def _read(said: _Said, reply_model: type[R]) -> _Reading[R]:
    message = said.message
    reply, unreadable = None, ""
    try:
        # Before anything else: a reply that was cut off behind its last brace is whole.
        reply = parse_reply(places_of(message), reply_model)
    except UnreadableReply as error:
        unreadable = str(error)
    problem: Problem = "" if reply is not None else problem_of(message) or "unreadable"
    answer = Answer(reply, said.usage, thoughts_of(message), problem, tokens_of(message))
    return _Reading(answer, unreadable if problem == "unreadable" else "")


def _answer_in(error: Exception) -> AIMessage | None:
    """What was raised but is an answer all the same."""
    if words := refusal_of(error):
        return AIMessage("", additional_kwargs={"refusal": words})
    return _UNFINISHED.get(type(error).__name__)
