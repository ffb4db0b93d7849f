"""What a text's words give away of what makes it hard."""

from __future__ import annotations

import pytest

from gems.memory.situations import situations_in


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("seven zebras", ["five or more of one thing"]),
        ("Are there exactly 12 buttons?", ["five or more of one thing"]),
        ("two swans", ["a few of one thing"]),
        ("three forks and five spoons", ["five or more of one thing", "several kinds of things with counts"]),
        ("a red bicycle", ["a thing of a stated colour"]),
        ("a red bicycle beside a blue bench", ["two or more things of different colours"]),
        ("a red hat and a red coat", ["a thing of a stated colour"]),
        ("a wooden horse", ["a thing of a stated material"]),
        ("a striped scarf", ["a thing with a pattern"]),
        ("Is the bear under the candle?", ["a thing under another"]),
        (
            "a clock to the left of a plant, in front of a wall",
            ["a thing to the left of another", "a thing in front of another"],
        ),
        ('a sign that says "OPEN"', ["a sign with text"]),
        ("a sign that says “OPEN”", ["a sign with text"]),
        ("Does the sign read 'Bread'?", ["a sign with text"]),
        ("the dog's owner and the cat's bed", []),
        ("a 1990s street, well-lit, done right", []),
        ("someone overweight, a credit card", []),
        ("", []),
    ],
)
def test_situations(text: str, found: list[str]) -> None:
    assert situations_in(text) == found
