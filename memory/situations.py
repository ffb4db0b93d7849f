"""What makes a request or a question hard, in the general words of lessons: counts, looks, places and written words.

A request names its things, and a lesson names a kind of situation; vectors alone do not see that "seven zebras" are "five or
more of one thing". English only: of another language, its own words are all there is to go by.
"""

from __future__ import annotations

import re
from typing import Final

_FEW: Final = re.compile(r"\b(?:few|two|three|four|pair|couple|twin|[2-4])\b", re.IGNORECASE)
_MANY: Final = re.compile(
    r"\b(?:five|six|seven|eight|nine|ten|eleven|twelve|dozens?|hundreds?|[5-9]|[1-9]\d{1,2})\b", re.IGNORECASE
)
_COLOR: Final = re.compile(
    r"\b(?:red|orange|yellow|green|blue|purple|violet|pink|brown|black|white|gr[ae]y|golden|silver|turquoise)\b",
    re.IGNORECASE,
)
_MATERIAL: Final = re.compile(
    r"\b(?:glass|wood(?:en)?|metal(?:lic)?|stone|plastic|leather|marble|steel|bronze|paper|brick|ceramic)\b",
    re.IGNORECASE,
)
_PATTERN: Final = re.compile(r"\b(?:striped|spotted|dotted|checkered|plaid|sparkling|stripes|dots)\b", re.IGNORECASE)
_QUOTED: Final = re.compile(r"""["“”«»„][^"“”«»„]*[\w][^"“”«»„]*["“”«»„]|(?<!\w)['‘][^'‘’]*\w['’](?!\w)""")
_PLACES: Final = (
    (re.compile(r"\bleft\b", re.IGNORECASE), "a thing to the left of another"),
    (re.compile(r"\bright (?:of|side)\b|\bto the right\b", re.IGNORECASE), "a thing to the right of another"),
    (re.compile(r"\b(?:on top of|upon|atop)\b", re.IGNORECASE), "a thing on top of another"),
    (re.compile(r"\b(?:under|below|beneath|underneath)\b", re.IGNORECASE), "a thing under another"),
    (re.compile(r"\babove\b|\bover the\b", re.IGNORECASE), "a thing above another"),
    (re.compile(r"\bbehind\b", re.IGNORECASE), "a thing behind another"),
    (re.compile(r"\bin front of\b", re.IGNORECASE), "a thing in front of another"),
    (re.compile(r"\bbetween\b", re.IGNORECASE), "a thing between two others"),
    (re.compile(r"\binside\b", re.IGNORECASE), "a thing inside another"),
)


def situations_in(text: str) -> list[str]:
    """The situations that the text's words give away, each in a few general words."""
    found = []
    few, many = len(_FEW.findall(text)), len(_MANY.findall(text))
    if many:
        found.append("five or more of one thing")
    elif few:
        found.append("a few of one thing")
    if few + many > 1:
        found.append("several kinds of things with counts")
    colors = len({color.lower() for color in _COLOR.findall(text)})
    if colors:
        found.append("two or more things of different colours" if colors > 1 else "a thing of a stated colour")
    if _MATERIAL.search(text):
        found.append("a thing of a stated material")
    if _PATTERN.search(text):
        found.append("a thing with a pattern")
    found += [situation for place, situation in _PLACES if place.search(text)]
    if _QUOTED.search(text):
        found.append("a sign with text")
    return found
