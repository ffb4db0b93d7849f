"""From the probabilities of a reply's tokens to the critic's belief, for the ways tokenizers cut a verdict."""

from __future__ import annotations

import pytest

from gems.core.ports import Token
from gems.nodes.belief import verdict_beliefs


def sure(*texts: str) -> list[Token]:
    return [Token(text, {text: 1.0}) for text in texts]


def cut(text: str, chances: dict[str, float]) -> Token:
    return Token(text, {text: 1 - sum(chances.values()), **chances})


@pytest.mark.parametrize(
    ("tokens", "belief"),
    [
        # Whole words behind a quote of their own.
        ([*sure('{"', "verdict", '":', ' "'), cut("met", {"unmet": 0.2, "unknown": 0.1}), *sure('"}')], 0.7),
        # o200k: `un` begins both others.
        ([*sure('{"', "verdict", '":"'), cut("met", {"un": 0.3}), *sure('"}')], 0.7),
        ([*sure('{"', "verdict", '":"'), cut("un", {"met": 0.3}), *sure("met", '"}')], 0.3),
        ([*sure('{"', "verdict", '":"'), cut("un", {"met": 0.25}), Token("known", {"known": 0.6, "met": 0.4})], 0.25),
        # The quote is glued to the value; an alternative puts a space before it.
        ([*sure('{"verdict":'), cut(' "met', {' "un': 0.3, '"met': 0.2}), *sure('"}')], 0.7),
        # Colon, quote and value in one.
        ([*sure('{"verdict'), cut('":"met', {'": "unmet': 0.4}), *sure('"}')], 0.6),
        # Single letters, and a spare space within the quotes.
        ([*sure('{"verdict": "', " "), cut("m", {"u": 0.25}), *sure("e", "t", '"}')], 0.75),
        # A closed value: `un"` is no verdict, and its probability lies nowhere.
        ([*sure('{"verdict": "'), cut('met"', {'unmet"': 0.2, 'un"': 0.1}), *sure("}")], 0.7 / 0.9),
        # Pretty-printed, and a quote that tells nothing among the alternatives.
        ([*sure('{\n  "verdict" : "'), cut("unknown", {"met": 0.09, '"': 0.1}), *sure('"\n}')], 0.1),
    ],
)
def test_the_first_token_of_the_value_tells(tokens: list[Token], belief: float) -> None:
    assert verdict_beliefs(tokens) == [pytest.approx(belief)]


def test_each_verdict_has_its_own_in_order() -> None:
    reply = [
        *sure('{"verdicts":[{"evidence":"he says \\"verdict\\": \\"met\\"","verdict":"'),
        cut("met", {"un": 0.1}),
        *sure('","confidence":1},{"verdict":"'),
        cut("un", {"met": 0.2}),
        *sure('met"}]}'),
    ]
    assert verdict_beliefs(reply) == [pytest.approx(0.9), pytest.approx(0.2)]


def test_thoughts_are_no_reply() -> None:
    thoughts = sure('<think>{"verdict": "', "met", '"}', "</think>")
    assert verdict_beliefs([*thoughts, *sure('{"verdict": "'), cut("un", {"met": 0.2})]) == [pytest.approx(0.2)]


@pytest.mark.parametrize(
    "value",
    [
        Token("met", {"met": 0.6}),
        Token("met", {"met": 0.6, "yes": 0.3}),
        Token("yes", {"yes": 1.0}),
        Token("met", {}),
        Token("met", {"met": 0.0, "unmet": 0.0}),
        Token("metal", {"metal": 1.0}),
    ],
)
def test_what_was_not_told_is_not_guessed(value: Token) -> None:
    assert verdict_beliefs([*sure('{"verdict": "'), value, *sure('"}')]) == [None]


def test_a_reply_may_end_anywhere() -> None:
    assert verdict_beliefs([]) == []
    assert verdict_beliefs(sure('{"better": "first"}')) == []
    assert verdict_beliefs(sure('{"verdict": "')) == [None]
