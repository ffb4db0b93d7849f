"""What scenes are called: terse captions as on the web, dense captions that leave nothing open, templates held out.

A caption under construction carries a mark such as `{3}` before the word that announces three things; `unmark` takes the
marks out. The text encoder learns from them how many things each word stands for.

Dense styles (`dense_prompt`). Places come from a composition in which every relation holds. Groups before or behind others
are called large or small, groups near each other close together, since a place says neither.
0 places     "Exactly two blue cows in the upper half. Exactly one car at the bottom."
1 relations  "exactly two blue cows at the top on top of exactly one car at the bottom."
2 groups     "First group: exactly two blue cows, in the upper half. Second group: exactly one car, at the bottom."
3 list       "exactly two blue cows: in the upper half; exactly one car: at the bottom."
4 lead       "In the upper half there are exactly two blue cows. At the bottom there is exactly one car."
5 one by one "A blue cow, a blue cow in the upper half. A car at the bottom."
6 counts     "exactly two blue cows on top of exactly one car."
7 restated   "exactly two blue cows and exactly one car. The cows are in the upper half. The car is at the bottom."
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random
from typing import Final, NamedTuple

from gems.backends.sketch.compose import Composition, compose
from gems.backends.sketch.scene import Group, Relation, SceneSpec, Thing, centre
from gems.backends.sketch.vocabulary import BACKGROUNDS, MATERIALS, NUMBERS, OBJECTS, RELATIONS, plural

DENSE_STYLES: Final = 8
"""Styles of `dense_prompt`; any integer is taken modulo this."""

_PLACELESS: Final = 6
_DEPTHS: Final = ("in front of", "behind")
_CLOSE: Final = ("near", "playing with")
_UNPLACED: Final = (*_DEPTHS, *_CLOSE)

TERSE_FRAMES: Final = (
    "{}", "{}", "{}", "a photo of {}", "a photo of {}", "a photo of {}", "a picture of {}", "an image of {}", "photo: {}",
    "a picture showing {}", "{}, photo", "a drawing of {}", "an illustration of {}", "a painting of {}", "{} in a picture",
    "stock photo of {}", "a snapshot of {}", "a view of {}", "close-up of {}", "there is {}", "I want {}", "make {}",
    "show me {}", "a scene with {}", "a scene of {}", "can you draw {}", "draw {}", "generate an image of {}",
    "here we see {}",
    "{}, digital art", "{}, high quality", "{}, 4k, highly detailed", "a colorful picture of {}", "an icon of {}",
    "a simple drawing of {}", "a beautiful photo of {}", "look at {}", "{} for sale", "my {}", "the {}", "look, {}!",
    "a photograph of {} taken yesterday", "a rendering of {}", "imagine {}", "{}, studio quality, bokeh", "a shot of {}",
    "a postcard of {}", "a clipart showing {}", "a mural depicting {}", "a neat collage that has {}",
    "an album cover with {}",
    "a funny comic about {}", "we need a flyer which displays {}", "give us a graphic including {}",
    "this is a doodle of {}",
    "a cartoon in which we see {}", "would you make a thumbnail presenting {}", "a really neat emblem having {}",
    "an antique stamp of {}", "a mosaic designed to show {}", "{} on a postcard", "{} as a sticker", "{} printed on a shirt",
    "{} in a magazine", "{} for a friend", "could you prepare a nice layout holding {}", "an engraving carrying {}",
)  # fmt: skip
"""Terse frames the model is trained on."""
HELD_OUT_TERSE_FRAMES: Final = (
    "please draw {}", "kindly paint me {} for my wall", "could we have a poster-like rendering that depicts {}",
    "an adorable vector artwork featuring {}", "{}, rendered in watercolor", "wallpaper: {}, trending on artstation",
    "we would love to look at {} today", "a minimalistic composition containing {}", "{}, as seen by my grandmother",
    "somebody painted a gorgeous fresco with {}", "let there be {} on my screensaver", "an infographic comparing {}",
    "my homework for tomorrow: {}", "a triptych, oil paint, that portrays {}",
)  # fmt: skip
"""Terse frames no training caption uses."""
DENSE_FRAMES: Final = (
    "{}", "{}", "{}", "A picture with {}", "The scene shows {}", "An image that contains {}", "Draw {}",
    "A clean picture: {}",
    "Create an image with the following. {}", "{} Nothing else.", "{} No other objects.", "There should be {}",
    "A well ordered scene. {}", "{} Only these objects.", "Picture: {} Clear and separate, not touching.",
    "{} Every one visible.", "I need a flyer with {}", "Make us a neat graphic: {}", "A postcard which displays {}",
    "Thank you for making a clear emblem. {}", "{} Suitable for a magazine.",
)  # fmt: skip
"""Dense frames the model is trained on."""
HELD_OUT_DENSE_FRAMES: Final = (
    "Please draw this carefully: {}", "I would like a leaflet containing {}",
    "{} Keep everything crisp and readable, thanks.",
    "Compose the following arrangement for our nursery. {}", "My requirements are as follows. {} Do not add anything.",
)  # fmt: skip
"""Dense frames no training caption uses."""

_ADJECTIVES: Final = (
    "lovely", "old", "cute", "shiny", "modern", "vintage", "detailed", "realistic", "pretty", "nice", "happy", "famous",
    "tasty", "elegant", "dusty", "fresh", "soft", "bright", "tall", "fluffy", "rustic", "friendly", "huge", "little",
    "antique", "handmade", "expensive", "funny", "gentle", "wild", "ordinary", "typical",
)  # fmt: skip
_MANNERS: Final = (
    "standing", "sitting", "placed", "located", "positioned", "resting", "lying", "waiting", "shown", "seen", "floating",
)  # fmt: skip
_JOINTS: Final = (
    " and ", " and ", " and ", ", and ", ", ", " with ", " together with ", " plus ", " as well as ", " along with ",
)  # fmt: skip
_PLACES_OF_BACKGROUND: Final = {
    "plain": ("on a {}", "in front of a {}"),
    "grass": ("on the {}", "in a {}", "in the {}"),
    "beach": ("on the {}", "at the {}", "on a {}"),
    "sea": ("in the {}", "at the {}", "by the {}"),
    "snow": ("in the {}", "in {}"),
    "desert": ("in the {}", "in a {}"),
    "forest": ("in a {}", "in the {}"),
    "mountains": ("in the {}", "in front of {}", "with {} in the back"),
    "street": ("on the {}", "in the {}", "in a {}"),
    "room": ("in a {}", "in the {}"),
    "night": ("at {}", "in the {}"),
    "sunset": ("at {}", "during {}"),
}
_MARK: Final = re.compile(r"\{(\d+)\}")
_ORDINALS: Final = ("First", "Second", "Third", "Fourth", "Fifth", "Next")


class Mark(NamedTuple):
    """The word at `offset` (in characters) announces `number` things."""

    offset: int
    number: int


class Caption(NamedTuple):
    """A caption and the words in it that announce things."""

    text: str
    marks: tuple[Mark, ...]


def unmark(marked: str) -> Caption:
    """Take the marks out of a caption: `unmark("{2}two cats") == Caption("two cats", (Mark(0, 2),))`."""
    text = ""
    marks = []
    place = 0
    for match in _MARK.finditer(marked):
        text += marked[place : match.start()]
        marks.append(Mark(len(text), int(match.group(1))))
        place = match.end()
    return Caption(text + marked[place:], tuple(marks))


class Place(NamedTuple):
    """Where on the canvas, each axis in fifths: column and row from 0 (left, top) to 4 (right, bottom)."""

    column: int
    row: int


def place_of(things: Sequence[Thing]) -> Place:
    """The fifth of each axis in which the middle of the things lies."""
    middle = centre(things)
    return Place(*(min(4, max(0, int(value * 5))) for value in (middle.x, middle.y)))


_COLUMN: Final = ("far left", "left", "center", "right", "far right")
_ROW: Final = ("top", "upper", "middle", "lower", "bottom")


def describe_place(place: Place, rng: Random | None = None) -> str:
    """Words for a place: "in the upper left", "at the bottom". With a generator, one of several wordings."""
    column, row = _COLUMN[place.column], _ROW[place.row]
    if place == (2, 2):
        wordings = ["in the center", "in the middle", "in the center of the picture", "at the center"]
    elif place.column == 2:
        half = f"in the {row} half" if row in ("upper", "lower") else f"at the {row}"
        wordings = [half, f"in the {row} center", f"{half} of the picture"]
    elif place.row == 2:
        wordings = [f"on the {column}", f"at the {column}", f"on the {column} side", f"in the middle {column}"]
        if "far" not in column:
            wordings.append(f"in the {column} half")
    else:
        wordings = [f"in the {row} {column}", f"at the {row} {column}"]
        if row in ("top", "bottom"):
            wordings.append(f"in the {row} {column} corner")
    return rng.choice(wordings) if rng else wordings[0]


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


class _Voice(NamedTuple):
    """How groups are worded. `rng` None: the plainest wording, so that a prompt is the same every time."""

    rng: Random | None
    exact: bool = False

    def chance(self, share: float) -> bool:
        return self.rng is not None and self.rng.random() < share

    def pick(self, wordings: Sequence[str]) -> str:
        return self.rng.choice(wordings) if self.rng else wordings[0]

    def noun(self, name: str, several: bool) -> str:
        synonyms = OBJECTS[name].synonyms if name in OBJECTS else ()
        if synonyms and self.chance(0.2):
            name = self.pick(synonyms)
        if not several:
            return name
        return name + "s" if self.chance(0.06) and not name.endswith("s") else plural(name)

    def adjectives(self, group: Group) -> str:
        words = [word for word in (group.color, group.texture) if word]
        if len(words) == 2 and self.chance(0.25):
            words.reverse()
        if group.color and self.chance(0.03):
            words[words.index(group.color)] = f"{group.color}-colored".replace("-", " ")
        if self.chance(0.1):
            words.insert(self.rng.randint(0, len(words)) if self.rng else 0, self.pick(_ADJECTIVES))
        return " ".join(words)

    def number(self, count: int) -> str:
        return str(count) if self.chance(0.12) else NUMBERS[count]

    def group(self, group: Group, size: str = "") -> str:
        """A group with its count: "{3}three red cars", "exactly {1}one dog", "{1}a sign that says "HI""."""
        count = group.count
        noun = self.noun(group.name, count != 1)
        made = group.texture in MATERIALS and self.chance(0.06)
        looks = self.adjectives(Group(group.name, count, group.color) if made else group)
        described = " ".join(filter(None, (size, looks, noun)))
        if count is None:
            quantity = self.pick(("some", "some", "several", "a few", "many", ""))
            phrase = f"{{3}}{quantity} {described}" if quantity else f"{described[: -len(noun)]}{{3}}{noun}"
        elif count == 1 and not self.exact and not self.chance(0.1):
            quantity = "a pair of" if noun == "scissors" and self.chance(0.3) else _article(described)
            phrase = f"{{1}}{quantity} {described}"
        elif count == 1 and self.chance(0.08):
            phrase = f"{{1}}a single {described}"
        elif count == 2 and self.chance(0.06):
            phrase = f"a {{2}}{self.pick(('pair', 'couple'))} of {described}"
        else:
            phrase = f"{{{count}}}{self.number(count)} {described}"
        if made:
            phrase += f" made of {group.texture}"
        if self.exact and count is not None:
            phrase = f"{self.pick(('exactly', 'exactly', 'exactly', 'only', 'just'))} {phrase}"
        return self.lettering(phrase, group.text) if group.text else phrase

    def lettering(self, sign: str, text: str) -> str:
        wordings = (
            '{} that says "{}"', '{} saying "{}"', '{} with the text "{}"', '{} reading "{}"', '{} with "{}" on it',
            '{} which reads "{}"', '{} with the word "{}" written on it',
        )  # fmt: skip
        if not self.exact and self.chance(0.3):
            return self.pick(
                (f'the word "{text}" on {sign}', f'"{text}" written on {sign}', f'the text "{text}" on {sign}')
            )
        said = self.pick(wordings).format(sign, text)
        if self.exact and not self.chance(0.3):
            letters = ", ".join("space" if letter == " " else letter for letter in text)
            said += self.pick((f" (the letters {letters})", f", spelled {letters}"))
        return said

    def relation(self, relation: str) -> str:
        phrase = self.pick(RELATIONS[relation])
        if relation == "under":
            phrase = self.pick(("under", "under", "underneath", "below"))
        if self.chance(0.15):
            phrase = f"{self.pick(_MANNERS)} {phrase}"
        return phrase

    def named_again(self, group: Group, spec: SceneSpec) -> str:
        """A group already counted: "the dogs", with its colour where two groups share a name."""
        noun = plural(group.name) if group.count != 1 else group.name
        twins = sum(other.name == group.name for other in spec.groups) > 1
        words = [word for word in (group.color, group.texture) if word] if twins or self.chance(0.3) else []
        return " ".join(["the", *words, noun])

    def background(self, background: str) -> str:
        name = self.pick([name for name in BACKGROUNDS[background] if not name.startswith("in")])
        return self.pick(_PLACES_OF_BACKGROUND[background]).format(name)


def _size_words(spec: SceneSpec) -> list[str]:
    """How large each group is drawn, for those that stand before or behind others; else nothing."""
    deep = [r for r in spec.relations if r.relation in _DEPTHS]
    depth = [(r.subject, r.object) if r.relation == "behind" else (r.object, r.subject) for r in deep]
    steps = [0] * len(spec.groups)
    for _ in spec.groups:
        for far, near in depth:
            steps[far] = max(steps[far], min(steps[near] + 1, 2))
    involved = {group for pair in depth for group in pair}
    words = ("large", "small") if max(steps, default=0) < 2 else ("large", "medium", "small")
    return [words[step] if group in involved else "" for group, step in enumerate(steps)]


def _verb(group: Group) -> str:
    return "is" if group.count == 1 else "are"


def _chain(spec: SceneSpec, voice: _Voice, phrases: Sequence[str]) -> str:
    """The groups in order, each tied to the next by a relation or a joint; relations that do not fit follow as sentences."""
    forward = {r.subject: r.relation for r in spec.relations if r.object == r.subject + 1}
    backward = {r.object: r.relation for r in spec.relations if r.subject == r.object + 1 and r.object not in forward}
    text = phrases[0]
    for place, phrase in enumerate(phrases[1:]):
        if place in forward:
            text += f" {voice.relation(forward[place])} {phrase}"
        elif place in backward and (place == 0 or place - 1 not in forward):
            it = "it" if spec.groups[place].count == 1 else "them"
            text += f" with {phrase} {voice.relation(backward.pop(place))} {it}"
        else:
            last = place == len(phrases) - 2
            text += voice.pick(_JOINTS if last else (", ", ", ", " and ", " with ")) + phrase
    for r in spec.relations:
        told = r.subject == r.object + 1 and r.object not in backward and r.object not in forward
        if r.object != r.subject + 1 and not told:
            text += _relation_sentence(r, spec, voice)
    return text


def _relation_sentence(r: Relation, spec: SceneSpec, voice: _Voice) -> str:
    subject, target = spec.groups[r.subject], spec.groups[r.object]
    said = f"{_verb(subject)} {voice.relation(r.relation)} {voice.named_again(target, spec)}"
    return f". {_capital(voice.named_again(subject, spec))} {said}"


def terse_caption(spec: SceneSpec, rng: Random | None, frames: Sequence[str] = TERSE_FRAMES) -> Caption:
    """A terse caption of what the spec asks for; without a generator, the plainest one."""
    voice = _Voice(rng)
    body = _chain(spec, voice, [voice.group(group) for group in spec.groups])
    if spec.background:
        where = voice.background(spec.background)
        body = f"{where}, {body}" if voice.chance(0.2) else f"{body} {where}"
    frame = rng.choice(frames) if rng else "{}"
    return unmark(frame.replace("{}", body))


def terse_prompt(spec: SceneSpec) -> str:
    """The plain short prompt for a spec: "five suitcases under five spotted kangaroos to the right of a green donut"."""
    return terse_caption(spec, None).text


def _sentences(parts: Sequence[str]) -> str:
    return " ".join(f"{_capital(part)}." for part in parts)


def _capital(text: str) -> str:
    """The first letter in upper case, past a mark: "{3}three cats" becomes "{3}Three cats"."""
    head = re.match(r"(?:\{\d+\})?", text)
    start = head.end() if head else 0
    return text[:start] + text[start : start + 1].upper() + text[start + 1 :]


def _one_by_one(group: Group, size: str, voice: _Voice) -> str:
    single = Group(group.name, 1, group.color, group.texture, group.text)
    items = [_Voice(voice.rng).group(single, size) for _ in range(group.count or 3)]
    if voice.chance(0.4):
        items = [items[0], *(re.sub(r"\}an? ", "}another ", item) for item in items[1:])]
    return ", ".join(items)


def _wheres(spec: SceneSpec, places: Sequence[str], voice: _Voice) -> list[str]:
    """Each group's place, then what it leaves open or only implies: "in the lower half, in front of the pigs".

    The plainest wording leaves relations to places and sizes: measured, they add nothing, and each names a group twice.
    """
    wheres = []
    for index, place in enumerate(places):
        parts = [place] if place else []
        parts += [
            f"{voice.relation(r.relation)} {voice.named_again(spec.groups[r.object], spec)}"
            for r in spec.relations
            if r.subject == index and voice.chance(1.0 if r.relation in _UNPLACED else 0.5)
        ]
        if any(r.relation in _CLOSE and index in (r.subject, r.object) for r in spec.relations):
            parts.append("close together")
        wheres.append(", ".join(parts))
    return wheres


def _dense_body(spec: SceneSpec, places: Sequence[str], style: int, voice: _Voice) -> str:
    sizes = _size_words(spec)
    phrases = [voice.group(group, size) for group, size in zip(spec.groups, sizes, strict=True)]
    wheres = _wheres(spec, places, voice)
    match style % DENSE_STYLES:
        case 0:
            return _sentences([f"{phrase} {where}".strip() for phrase, where in zip(phrases, wheres, strict=True)])
        case 1:
            placed = [f"{phrase} {place}".strip() for phrase, place in zip(phrases, places, strict=True)]
            return _chain(spec, voice, placed) + "."
        case 2:
            heads = [_ORDINALS[min(i, 5)] + voice.pick((" group: ", ": ", " group: ")) for i in range(len(phrases))]
            return _sentences(
                [head + f"{p}, {w}".rstrip(", ") for head, p, w in zip(heads, phrases, wheres, strict=True)]
            )
        case 3:
            return "; ".join(f"{p}: {w}".rstrip(": ") for p, w in zip(phrases, wheres, strict=True)) + "."
        case 4:
            leads = []
            for place, where, phrase, group in zip(places, wheres, phrases, spec.groups, strict=True):
                rest = where.removeprefix(place).removeprefix(", ")
                leads.append(f"{place} there {_verb(group)} {phrase}, {rest}".strip(" ,"))
            return _sentences(leads)
        case 5:
            listed = [_one_by_one(group, size, voice) for group, size in zip(spec.groups, sizes, strict=True)]
            return _sentences([f"{items} {where}".strip() for items, where in zip(listed, wheres, strict=True)])
        case 6:  # _PLACELESS
            return _chain(spec, voice, phrases) + "."
        case _:
            again = [
                f"{voice.named_again(group, spec)} {_verb(group)} {where}"
                for group, where in zip(spec.groups, wheres, strict=True)
                if where
            ]
            return f"{_listed(phrases)}. {_sentences(again)}".strip()


def _listed(phrases: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(phrases[:-1]), phrases[-1])))


def dense_caption(
    spec: SceneSpec,
    composition: Composition | None,
    style: int,
    rng: Random | None,
    frames: Sequence[str] = DENSE_FRAMES,
) -> Caption:
    """A caption that leaves nothing open, true of the composition. Without one, no places are named."""
    voice = _Voice(rng, exact=True)
    places = (
        [describe_place(place_of(things), rng) for things in composition] if composition else [""] * len(spec.groups)
    )
    body = _dense_body(spec, places, style, voice)
    body = body.replace("..", ".")
    frame = rng.choice(frames) if rng else "{}"
    if not frame.startswith("{}") and not frame.endswith((". {}", ": {}")):
        body = body[0].lower() + body[1:]
    text = frame.replace("{}", body)
    if spec.background:
        where = voice.background(spec.background)
        text += voice.pick((f" The background: {where}.", f" All of it {where}.", f" The scene is {where}."))
    return unmark(text)


def dense_prompt(spec: SceneSpec, style: int) -> str:
    """An explicit prompt for a spec in one of `DENSE_STYLES` styles, the same every time.

    Places are chosen so that every relation of the spec holds; another style chooses other places, and so does the same
    style with a multiple of `DENSE_STYLES` added. Style 6 names none, and neither does any style where no composition
    meets the spec.
    """
    composition = None
    if style % DENSE_STYLES != _PLACELESS:
        tries = (compose(spec, Random(style + DENSE_STYLES * attempt)) for attempt in range(6))
        composition = next((found for found in tries if found), None)
    return dense_caption(spec, composition, style, None).text
