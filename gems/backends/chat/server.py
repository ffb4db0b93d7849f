"""One model at one server: how it is asked, what it takes, what it costs."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from gems.backends.chat.abilities import Abilities, lesser
from gems.backends.chat.book import ServerBook
from gems.backends.chat.errors import HOSTED, status_of, words_of
from gems.core.profiles import Endpoint, Price

MOST_RUBBISH: Final = 2
"""Questions in a row without a readable answer, after which JSON is asked for in the next way."""
ALTERNATIVES: Final = 5
"""Log-probabilities for each token: vLLM gives no more unless it is told to."""
IMAGE_TOKENS: Final = 26_000
"""Tokens of one image by the dearest way of counting that is known: gpt-4o-mini, 1024 px, high detail."""
LETTERS_A_TOKEN: Final = 3
"""ASCII characters. Of others, a tokenizer that does not know them makes one token a byte."""
MILLION: Final = 1_000_000

_COMPLAINTS: Final = (400, 403, 404, 422, 500, 501)
"""Statuses with which servers refuse a field; OpenAI forbids log-probabilities with 403."""
_NAMES: Final = {"output": "response_format", "limit": "tokens", "logprobs": "logprobs", "temperature": "temperature"}
"""What the fields of the abilities are called on the wire."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """How a model is to be asked. The default suits any model: nothing is sent besides the messages."""

    output: Literal["auto", "json_schema", "json_object", "text"] = "text"
    logprobs: bool = False
    temperature: float | None = None
    max_tokens: int | None = None


class Server:
    """Turns wishes into the options of a call, and learns from what the server makes of them."""

    def __init__(
        self, wishes: Wishes | None = None, endpoint: Endpoint | None = None, book: ServerBook | None = None
    ) -> None:
        """Say what is wanted.

        Args:
            wishes: How the model is to be asked.
            endpoint: Which model, for messages and prices; None for a caller's own.
            book: Where what is learnt is kept.
        """
        self.wishes = wishes or Wishes()
        self.endpoint = endpoint
        self._book = book or ServerBook()
        self._place = ((endpoint.base_url or HOSTED).rstrip("/"), endpoint.model) if endpoint else ("", "")
        self._rubbish = 0

    @property
    def abilities(self) -> Abilities:
        """What the server can do, as far as is known."""
        known = self._known()
        if known.limit == "none" and self._is_priced:
            # Learnt when nothing had a price.
            known = known.model_copy(update={"limit": self._first_limit()})
        return known if self.wishes.output == "auto" else known.model_copy(update={"output": self.wishes.output})

    def options(self, abilities: Abilities, name: str, schema: Mapping[str, Any]) -> dict[str, Any]:
        """The options of a call."""
        wishes, options = self.wishes, dict[str, Any]()
        if abilities.output == "json_schema":
            form = {"name": name, "strict": True, "schema": schema}
            options["response_format"] = {"type": "json_schema", "json_schema": form}
        elif abilities.output == "json_object":
            options["response_format"] = {"type": "json_object"}
        if wishes.logprobs and abilities.logprobs:
            options |= {"logprobs": True, "top_logprobs": ALTERNATIVES}
        if wishes.temperature is not None and abilities.temperature:
            options["temperature"] = wishes.temperature
        if wishes.max_tokens is not None and abilities.limit != "none":
            options[abilities.limit] = wishes.max_tokens
        return options

    def lesser(self, abilities: Abilities, error: Exception, tried: Collection[Abilities]) -> Abilities | None:
        """What to try in place of a call that was refused for one of its options; None for any other error."""
        if status_of(error) not in _COMPLAINTS:
            return None
        param, changeable = str(getattr(error, "param", None)), self._changeable()
        # A server that names the field is believed before its words, which may repeat the whole call.
        named = [field for field in changeable if _NAMES[field] in param]
        words = f"{param}: {words_of(error)}"
        return lesser(abilities, words, named or changeable, tried, bounded=self._is_priced)

    async def learn(self, thought: Abilities, found: Abilities) -> None:
        """Remember in what the server was found to be other than thought; what else was learnt meanwhile stays."""
        before, after = thought.model_dump(), found.model_dump()
        news = {field: value for field, value in after.items() if value != before[field]}
        if after["limit"] == "none" and self._is_priced:
            # One long question may have left no room for the limit; a short one without it could cost more than is reserved.
            news.pop("limit", None)
        if news:
            await asyncio.to_thread(self._book.learn, *self._place, self._known().model_copy(update=news))

    async def heard(self, abilities: Abilities, *, readable: bool) -> None:
        """Count answers without a readable reply: some servers take a schema and then answer with rubbish."""
        self._rubbish = 0 if readable else self._rubbish + 1
        if self._rubbish >= MOST_RUBBISH and self.wishes.output == "auto":
            self._rubbish = 0
            less = lesser(abilities, "response_format", ("output",))
            if less:
                await self.learn(abilities, less)

    def cost(self, input_tokens: float, output_tokens: float) -> float:
        """Money, in the currency of the price table; 0 where no price is known."""
        price = (self.endpoint and self.endpoint.price) or Price()
        return (input_tokens * price.input + output_tokens * price.output) / MILLION

    @property
    def _is_priced(self) -> bool:
        return self.cost(1, 1) > 0

    def _known(self) -> Abilities:
        return self._book.find(*self._place) or Abilities(limit=self._first_limit())

    def _first_limit(self) -> Literal["max_completion_tokens", "max_tokens"]:
        # OpenAI has forgotten the old name; many others have not learnt the new one, and would let a model run on.
        return "max_completion_tokens" if urlsplit(self._place[0]).hostname == "api.openai.com" else "max_tokens"

    def _changeable(self) -> list[str]:
        wishes = self.wishes
        sent = {
            "output": wishes.output == "auto",
            "logprobs": wishes.logprobs,
            "temperature": wishes.temperature is not None,
            "limit": wishes.max_tokens is not None,
        }
        return [field for field, is_sent in sent.items() if is_sent]


def tokens_in(text: str) -> int:
    """An upper estimate of the tokens of a text."""
    letters = len(text.encode("ascii", "ignore"))
    return -(-letters // LETTERS_A_TOKEN) + len(text.encode("utf-8", "replace")) - letters
