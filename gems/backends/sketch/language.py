"""Reading prompts: English to a scene spec, with what cannot be drawn and what has no effect.

One pass from left to right. A relation binds the group just before it to the group just after it, as in GenEval2's chains
("candles under croissants to the right of a flower": the croissants stand to the right of the flower).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import takewhile
from typing import Final

from gems.backends.sketch.drafts import Draft, Drafts
from gems.backends.sketch.lexicon import Kind, Lexeme
from gems.backends.sketch.phrases import Head, NounPhrase, at, read_noun_phrase, starts_noun_phrase
from gems.backends.sketch.scene import SceneSpec
from gems.backends.sketch.words import lex

_PLAIN: Final = frozenset(
    {"plain", "simple", "clean", "neutral", "blank", "empty", "solid", "pure", "minimal", "minimalist"}
)
_INSIDE: Final = frozenset({"in", "into", "inside", "within"})
_REFERRING: Final = frozenset({"the", "his", "her", "its", "their", "any"})
_LETTERING: Final = frozenset(
    {"says", "say", "saying", "that reads", "which reads", "reading", "reads", "labeled", "labelled"}
)
_OPENING: Final = frozenset({Kind.AND, Kind.COMMA, Kind.STOP})
_MARKINGS: Final = frozenset({"stripes", "spots", "dots", "polka dots"})
"""Markings whose colour is not the thing's colour."""
_TAKING: Final = frozenset(
    {"holding", "holds", "hold", "eating", "eats", "eat", "biting", "bites", "bite", "watching", "watches", "watch",
     "wearing", "wears", "wear", "riding", "rides", "ride", "drinking", "drinks", "drink", "carrying", "carries", "carry"}
)  # fmt: skip
"""Verbs that are followed by a thing, never by a style."""
_WISHES: Final = frozenset(
    {Kind.OBJECT, Kind.NOUN, Kind.WORD, Kind.COLOR, Kind.TEXTURE, Kind.NUMBER, Kind.BACKGROUND, Kind.RELATION, Kind.PLACE,
     Kind.QUOTE}
)  # fmt: skip
"""What "do not ..." cannot be passed over with."""
_LONGEST_CLAUSE: Final = 30
"""Lexemes of "do not ..." that are looked through."""
_TEXT_LENGTH: Final = 3
"""Most words of unquoted text that are taken from "a sign that says ..."."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a prompt asks for. `unknown`: things that cannot be drawn. `ignored`: other words that have no effect.

    `unfollowed`: words that change the meaning in a way that no spec says ("or", "not", "each").
    """

    spec: SceneSpec
    unknown: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    unfollowed: tuple[str, ...] = ()


def read_prompt(text: str) -> Reading:
    """Read an English prompt within the vocabulary. Any text can be read; nothing is raised."""
    return Reader(lex(text)).read()


class Reader:
    """Reads the lexemes of one prompt."""

    def __init__(self, lexemes: list[Lexeme]) -> None:
        self.lexemes = lexemes
        self.drafts = Drafts()
        self.unknown: list[str] = []
        self.ignored: list[str] = []
        self.unfollowed: list[str] = []
        self.place = 0
        self._sentence = 0
        self._segment = 0
        self._topic: Draft | None = None
        """The first group of the sentence before: what "it" means."""
        self._new_sentence()
        self._steps: dict[Kind, Callable[[], int]] = {
            Kind.QUOTE: self._read_quote,
            Kind.SAYS: self._read_says,
            Kind.RELATION: self._read_relation,
            Kind.BETWEEN: self._read_between,
            Kind.PLACE: self._read_place,
            Kind.COPULA: self._read_copula,
            Kind.MADE_OF: self._read_made_of,
            Kind.WITHOUT: self._read_without,
            Kind.PREPOSITION: self._read_preposition,
            Kind.PRONOUN: self._read_pronoun,
            Kind.REST: self._read_rest,
            Kind.STOP: self._read_stop,
            Kind.COMMA: self._read_comma,
            Kind.VERB: self._read_verb,
            Kind.UNFOLLOWED: self._read_unfollowed,
        }

    def read(self) -> Reading:
        """Read all of it."""
        while self.place < len(self.lexemes):
            step = self._steps.get(self._here.kind)
            if step is not None:
                self.place = step()
            elif starts_noun_phrase(self._here):
                self.place = self._read_noun_phrase()
            else:
                self.place += 1
        self._drop_fronted_place()
        spec = self.drafts.spec()
        self.ignored += [words for draft in self.drafts.groups for words in draft.place_words]
        unknown, ignored, unfollowed = (
            tuple(dict.fromkeys(words)) for words in (self.unknown, self.ignored, self.unfollowed)
        )
        return Reading(spec, unknown, ignored, unfollowed)

    @property
    def _here(self) -> Lexeme:
        return self.lexemes[self.place]

    def _new_sentence(self) -> None:
        self._current: Draft | None = None
        """The group that a relation or a predicate would be about."""
        self._fronted: tuple[str, Draft] | None = None
        """A relation read before its subject: "next to the cat is a dog"."""
        self._fronted_place: Lexeme | None = None
        self._text_alone: Draft | None = None
        """A sign implied by text, until a real sign takes the text over."""
        self._on_background = False
        self._segment = 0

    # Groups

    def _groups(self) -> list[Draft]:
        return [part for draft in self.drafts.groups for part in (draft, *draft.parts)]

    def _last(self, name: str | None = None) -> Draft | None:
        named = [draft for draft in self.drafts.groups if name in (None, draft.name)]
        return named[-1] if named else None

    def _referred(self, phrase: NounPhrase) -> Draft | None:
        """The group already named that a phrase like "the dog" means."""
        color = phrase.colors[0] if phrase.colors else None
        texture = phrase.textures[0] if phrase.textures else None
        unsaid = not phrase.determiner and not phrase.counted
        if not (phrase.determiner in _REFERRING or (unsaid and not phrase.described)):
            return None
        for draft in reversed(self._groups()):
            same = draft.name == phrase.name and color in (None, draft.color) and texture in (None, draft.texture)
            if same and (not phrase.counted or phrase.count == draft.count):
                return draft
        plain = [
            d for d in self.drafts.groups if d.name == phrase.name and not d.color and not d.texture and not d.parts
        ]
        if plain and not phrase.counted and phrase.determiner:
            plain[-1].color, plain[-1].texture = color, texture
            return plain[-1]
        return None

    def _group(self, phrase: NounPhrase) -> Draft:
        """The group of a headed phrase: one already named, or a new one."""
        self.ignored += phrase.ignored
        found = self._referred(phrase)
        if found is not None and found is not self._current:
            return found
        if phrase.name == "sign" and self._text_alone is not None:
            return self._real_sign(phrase, self._text_alone)
        draft = Draft(phrase.name, phrase.count, sentence=self._sentence)
        self._describe(draft, phrase.colors, phrase.textures)
        if len(phrase.colors) == 2 and phrase.count is None and not phrase.textures:
            self._two_colors(draft, phrase.colors)
        self.drafts.groups.append(draft)
        return draft

    def _two_colors(self, draft: Draft, colors: list[str]) -> None:
        """Red and green apples are red apples and green apples."""
        draft.parts = [Draft(draft.name, None, color) for color in colors]
        self.ignored = [word for word in self.ignored if word != colors[1]]

    def _real_sign(self, phrase: NounPhrase, implied: Draft) -> Draft:
        implied.count = phrase.count
        self._describe(implied, phrase.colors, phrase.textures)
        self._text_alone = None
        return implied

    def _describe(self, draft: Draft, colors: Iterable[str], textures: Iterable[str]) -> None:
        """Give a group its colour and texture; a group has one of each, further ones have no effect."""
        for color in colors:
            if draft.color in (None, color):
                draft.color = color
            else:
                self.ignored.append(color)
        for texture in textures:
            if draft.texture in (None, texture):
                draft.texture = texture
            else:
                self.ignored.append(texture)

    def _mention(self, draft: Draft) -> None:
        """Make a group the current one and give it what was said before it."""
        self._on_background = False
        if self._fronted is not None and self._fronted[1] is not draft:
            self.drafts.relate(draft, *self._fronted)
            self._fronted = None
        if self._fronted_place is not None:
            draft.place(self._fronted_place.value, self._fronted_place.surface)
            self._fronted_place = None
        self._current = draft

    # Noun phrases

    def _read_noun_phrase(self) -> int:
        phrase = read_noun_phrase(self.lexemes, self.place)
        if phrase.end == self.place:
            return self.place + 1
        if phrase.head is Head.OBJECT:
            self._mention(self._group(phrase))
        elif phrase.head is Head.ONES:
            self._mention_ones(phrase)
        elif phrase.head is Head.MISSING:
            self._mention_missing(phrase)
        elif phrase.head is Head.UNKNOWN:
            self._note_unknown(phrase)
        elif phrase.head is Head.ATTRIBUTE:
            self._note_attribute(phrase)
        elif phrase.head in {Head.BACKGROUND, Head.BACKDROP}:
            self._note_background(phrase)
        else:
            self.ignored += phrase.ignored
        return phrase.end

    def _mention_ones(self, phrase: NounPhrase) -> None:
        self.ignored += phrase.ignored
        antecedent, last = self._divisible(phrase), self._last()
        if antecedent is not None:
            self._current = self._part(antecedent, phrase)
        elif last is not None:
            phrase.name = last.name
            phrase.head = Head.OBJECT
            self._mention(self._group(phrase))

    def _divisible(self, phrase: NounPhrase) -> Draft | None:
        """The last group that a phrase without a name can be a part of."""
        return next((draft for draft in reversed(self.drafts.groups) if self._can_take(draft, phrase)), None)

    def _can_take(self, antecedent: Draft, phrase: NounPhrase) -> bool:
        """Whether a phrase without a name can be a part of the group."""
        if antecedent.count == 1 or (antecedent.color and phrase.colors):
            return False
        taken = sum(part.count or 1 for part in antecedent.parts)
        return antecedent.count is None or taken + (phrase.count or 1) <= antecedent.count

    def _part(self, antecedent: Draft, phrase: NounPhrase) -> Draft:
        part = Draft(antecedent.name, phrase.count, antecedent.color, antecedent.texture)
        self._describe(part, phrase.colors, phrase.textures)
        antecedent.parts.append(part)
        return part

    def _mention_missing(self, phrase: NounPhrase) -> None:
        """A phrase without a noun: the noun follows ("two red and three green apples") or went before ("one is black")."""
        self.ignored += phrase.ignored
        following = self._following_name(phrase) if phrase.described else ""
        antecedent = self._divisible(phrase)
        predicate = at(self.lexemes, phrase.end).kind is Kind.COPULA
        if self._is_made_thing(phrase) and not following and not predicate:
            self.unknown.append(phrase.materials[-1])
        elif (
            not following
            and antecedent is not None
            and self._can_take(antecedent, phrase)
            and (phrase.described or predicate)
        ):
            self._current = self._part(antecedent, phrase)
        elif following:
            phrase.name, phrase.head = following, Head.OBJECT
            phrase.ignored = []
            self._mention(self._group(phrase))
        elif phrase.materials:
            self.unknown.append(phrase.materials[-1])
        else:
            self.ignored += [*phrase.colors, *phrase.textures]

    def _is_made_thing(self, phrase: NounPhrase) -> bool:
        """Whether a material with an article is a thing of its own: "a glass"."""
        return bool(phrase.materials) and not phrase.colors and phrase.determiner in {"a", "an", "another"}

    def _following_name(self, phrase: NounPhrase) -> str:
        """The noun that a run of unnamed phrases leads up to, unless they divide the group before them."""
        total = phrase.count or 1
        end = phrase.end
        while at(self.lexemes, end).kind in {Kind.AND, Kind.COMMA}:
            end += 1
            if at(self.lexemes, end).kind in {Kind.AND, Kind.COMMA}:
                continue
            after = read_noun_phrase(self.lexemes, end)
            if after.head is Head.OBJECT and after.described:
                if self._is_made_thing(phrase) and not after.textures:
                    return ""
                divided = any(draft.count == total and total > 1 for draft in self.drafts.groups[-1:])
                return "" if divided else after.name
            if after.head is not Head.MISSING:
                return ""
            total += after.count or 1
            end = after.end
        return ""

    def _note_unknown(self, phrase: NounPhrase) -> None:
        previous = at(self.lexemes, self.place - 1)
        unlisted = at(self.lexemes, phrase.end - 1).kind is Kind.WORD
        if (unlisted and self._is_style(phrase, previous)) or (phrase.bare and self._is_verb(phrase, previous)):
            self.ignored += [*phrase.ignored, phrase.name]
            return
        self.ignored += phrase.ignored
        if phrase.count == 0:
            return
        self.unknown.append(phrase.name)
        self._current = None
        self._fronted = None

    def _is_style(self, phrase: NounPhrase, previous: Lexeme) -> bool:
        """Whether a word in no list stands where styles stand: alone, after a comma, a verb or a thing."""
        if phrase.determiner or phrase.counted or phrase.described or previous.surface in _TAKING:
            return False
        if previous.kind in {Kind.OBJECT, Kind.VERB, Kind.ADJECTIVE, Kind.SILENT, Kind.COPULA} and self.place:
            return True
        if at(self.lexemes, phrase.end).kind in {Kind.DETERMINER, Kind.NUMBER}:
            return True
        if previous.kind is Kind.PREPOSITION and at(self.lexemes, self.place - 2).kind is Kind.ADJECTIVE:
            return True
        return self._segment > 0 and previous.kind in {Kind.COMMA, Kind.STOP}

    def _is_verb(self, phrase: NounPhrase, previous: Lexeme) -> bool:
        """Whether a noun that is also a verb stands right after its subject: "two dogs watch"."""
        return previous.kind is Kind.OBJECT and phrase.name in {"fly", "watch", "face"}

    def _note_attribute(self, phrase: NounPhrase) -> None:
        self.ignored += phrase.ignored
        if at(self.lexemes, phrase.end - 1).surface in _MARKINGS:
            self.ignored += phrase.colors
            phrase.colors = []
        if self._divide_by_color(phrase):
            return
        if self._current is not None and at(self.lexemes, self.place - 1).kind is not Kind.STOP:
            self._describe(self._current, phrase.colors, phrase.textures)
        else:
            self.ignored += [*phrase.colors, *phrase.textures]

    def _divide_by_color(self, phrase: NounPhrase) -> bool:
        """Three balloons: red, blue and yellow. As many colours as things give each thing one."""
        group = self._current
        if group is None or group.count is None or group.count < 2 or group.color or group.parts:
            return False
        run: list[str] = []
        place = self.place
        while at(self.lexemes, place).kind in {Kind.COLOR, Kind.AND, Kind.COMMA}:
            run += [at(self.lexemes, place).value] if at(self.lexemes, place).kind is Kind.COLOR else []
            place += 1
        if group.count != len(run):
            return False
        group.parts = [Draft(group.name, 1, color, group.texture) for color in run]
        phrase.end = place
        return True

    def _note_background(self, phrase: NounPhrase) -> None:
        previous, before = at(self.lexemes, self.place - 1), at(self.lexemes, self.place - 2)
        if previous.surface == "of" and before.kind in {Kind.OBJECT, Kind.NOUN, Kind.TEXTURE}:
            return
        background = phrase.name
        if phrase.head is Head.BACKDROP:
            if not (phrase.colors or _PLAIN & set(phrase.ignored)):
                self.ignored += phrase.ignored
                return
            background = "plain"
            phrase.ignored = [word for word in phrase.ignored if word not in _PLAIN]
        self.ignored += [*phrase.ignored, *phrase.colors, *phrase.textures]
        if self.drafts.background in (None, background):
            self.drafts.background = background
        else:
            self.ignored.append(at(self.lexemes, phrase.end - 1).surface)
        self._on_background = True
        self._fronted = None

    # Relations and places

    def _read_relation(self) -> int:
        subject = self._current
        if at(self.lexemes, self.place + 1).kind is Kind.PRONOUN:
            self._relate_to_pronoun(subject)
            return self.place + 2
        start = self._skip_silent(self.place + 1)
        phrase = read_noun_phrase(self.lexemes, start)
        if phrase.head is not Head.OBJECT:
            self._drop_relation(phrase, start)
            return self.place + 1
        if (
            self._here.surface in {"on", "on top of"}
            and phrase.name == "sign"
            and subject is not None
            and subject is self._text_alone
        ):
            self._current = self._group(phrase)
            return phrase.end
        other = self._group(phrase)
        if subject is not None and subject is self._text_alone and self._here.surface == "on":
            return phrase.end
        self._relate(subject, self._here.value, other, keep=False)
        return phrase.end

    def _relate_to_pronoun(self, subject: Draft | None) -> None:
        previous = at(self.lexemes, self.place - 1).kind
        if previous in {Kind.QUOTE, Kind.SAYS}:
            return  # "with OPEN written on it"
        other = self._meant_by_pronoun(subject)
        if subject is not None and self._group_follows(self.place + 2) and (other is None or previous in _OPENING):
            # "a tree, behind it a house": the subject is still to come.
            self._fronted, self._current = (self._here.value, subject), None
        elif other is not None:
            self._relate(subject, self._here.value, other, keep=True)

    def _drop_relation(self, phrase: NounPhrase, start: int) -> None:
        """A relation without a drawable object. Its words are reported unless a background or an unknown thing follows."""
        followed = phrase.head in {Head.BACKGROUND, Head.BACKDROP, Head.UNKNOWN}
        if not followed and self._here.surface not in {"on", "by", "before", "next"} and phrase.end == start:
            self.ignored.append(self._here.surface)

    def _relate(self, subject: Draft | None, relation: str, other: Draft, *, keep: bool) -> None:
        if subject is None:
            self._fronted = (relation, other)
            return
        self.drafts.relate(subject, relation, other)
        self._on_background = False
        if not keep:
            self._current = other

    def _meant_by_pronoun(self, subject: Draft | None) -> Draft | None:
        if subject is None:
            return self._topic or self._last()
        others = [draft for draft in self.drafts.groups if draft is not subject and subject not in draft.parts]
        return others[-1] if others else None

    def _skip_silent(self, place: int) -> int:
        while at(self.lexemes, place).kind in {Kind.SILENT, Kind.VERB}:
            place += 1
        return place

    def _read_between(self) -> int:
        subject = self._current
        first = read_noun_phrase(self.lexemes, self.place + 1)
        if first.head is not Head.OBJECT or subject is None:
            self.ignored.append(self._here.surface)
            return self.place + 1
        one = self._group(first)
        if at(self.lexemes, first.end).kind is Kind.AND:
            second = read_noun_phrase(self.lexemes, first.end + 1)
            if second.head is Head.OBJECT:
                other = self._group(second)
                self.drafts.relate(one, "left of", subject)
                self.drafts.relate(subject, "left of", other)
                self._current = other
                return second.end
        self.drafts.relate(subject, "near", one)
        self._current = one
        return first.end

    def _read_place(self) -> int:
        if self._on_background and self._here.value == "back":
            return self.place + 1
        opens = at(self.lexemes, self.place - 1).kind in _OPENING
        if self._current is None or (opens and self._group_follows(self.place + 1)):
            self._drop_fronted_place()
            self._fronted_place = self._here
        else:
            self._current.place(self._here.value, self._here.surface)
        return self.place + 1

    def _drop_fronted_place(self) -> None:
        if self._fronted_place is not None:
            self.ignored.append(self._fronted_place.surface)
            self._fronted_place = None

    def _group_follows(self, place: int) -> bool:
        while at(self.lexemes, place).kind in {Kind.COMMA, Kind.COPULA, Kind.THERE, Kind.SILENT}:
            place += 1
        return read_noun_phrase(self.lexemes, place).head is Head.OBJECT

    # Predicates

    def _read_copula(self) -> int:
        place = self._skip_silent(self.place + 1)
        if at(self.lexemes, place).value == "orange" and at(self.lexemes, place + 1).kind is not Kind.OBJECT:
            return self._predicate(place)
        phrase = read_noun_phrase(self.lexemes, place)
        if phrase.head in {Head.ATTRIBUTE, Head.NOTHING} and phrase.end > place:
            return self._predicate(place)
        return self.place + 1

    def _predicate(self, place: int) -> int:
        while True:
            lexeme = at(self.lexemes, place)
            if lexeme.kind is Kind.COLOR or lexeme.surface == "orange":
                self._predicate_of_current([lexeme.value], [])
            elif lexeme.kind is Kind.TEXTURE:
                self._predicate_of_current([], [lexeme.value])
            elif lexeme.kind is Kind.ADJECTIVE:
                self.ignored.append(lexeme.surface)
            elif not self._predicate_goes_on(place):
                return place
            place += 1

    def _predicate_goes_on(self, place: int) -> bool:
        lexeme, after = at(self.lexemes, place), at(self.lexemes, place + 1)
        if lexeme.kind is Kind.SILENT:
            return True
        joined = lexeme.kind in {Kind.AND, Kind.COMMA} and after.kind in {Kind.COLOR, Kind.TEXTURE, Kind.ADJECTIVE}
        return joined and read_noun_phrase(self.lexemes, place + 1).head in {Head.ATTRIBUTE, Head.NOTHING}

    def _predicate_of_current(self, colors: list[str], textures: list[str]) -> None:
        if self._current is None:
            self.ignored += [*colors, *textures]
        else:
            self._describe(self._current, colors, textures)

    def _read_made_of(self) -> int:
        following = at(self.lexemes, self.place + 1)
        if following.kind is Kind.TEXTURE and not read_noun_phrase(self.lexemes, self.place + 1).name:
            self._predicate_of_current([], [following.value])
            return self.place + 2
        return self.place + 1

    def _read_rest(self) -> int:
        antecedent = next((draft for draft in reversed(self.drafts.groups) if draft.parts), None)
        if antecedent is not None and antecedent.count is not None:
            rest = antecedent.count - sum(part.count or 1 for part in antecedent.parts)
            if rest > 0:
                self._current = Draft(antecedent.name, rest, antecedent.color, antecedent.texture)
                antecedent.parts.append(self._current)
        return self.place + 1

    def _read_pronoun(self) -> int:
        if self._current is None:
            self._current = self._topic
        return self.place + 1

    # The rest

    def _read_without(self) -> int:
        phrase = read_noun_phrase(self.lexemes, self.place + 1)
        if phrase.head is Head.OBJECT:
            self.drafts.groups.append(Draft(phrase.name, 0, sentence=self._sentence))
            self._describe(self.drafts.groups[-1], phrase.colors, phrase.textures)
        return max(phrase.end, self.place + 1)

    def _read_preposition(self) -> int:
        phrase = read_noun_phrase(self.lexemes, self.place + 1)
        if self._here.value in _INSIDE and phrase.head is Head.OBJECT and self._current is not None:
            self.ignored.append(self._here.surface)
        return self.place + 1

    def _read_verb(self) -> int:
        self.ignored.append(self._here.surface)
        return self.place + 1

    def _read_unfollowed(self) -> int:
        if self._here.surface != "not" or not self._forbids_nothing():
            self.unfollowed.append(self._here.surface)
        return self.place + 1

    def _forbids_nothing(self) -> bool:
        """Whether "do not ..." forbids nothing in particular: "do not add anything"."""
        if at(self.lexemes, self.place - 1).surface != "do":
            return False
        rest = self.lexemes[self.place + 1 : self.place + 1 + _LONGEST_CLAUSE]
        clause = takewhile(lambda lexeme: lexeme.kind not in {Kind.STOP, Kind.COMMA}, rest)
        return not any(lexeme.kind in _WISHES for lexeme in clause)

    def _read_stop(self) -> int:
        mentioned = [draft for draft in self.drafts.groups if draft.sentence == self._sentence]
        self._topic = mentioned[0] if mentioned else self._topic
        self._sentence += 1
        self._drop_fronted_place()
        self._new_sentence()
        self._segment = 1
        return self.place + 1

    def _read_comma(self) -> int:
        self._segment += 1
        return self.place + 1

    # Text

    def _read_quote(self) -> int:
        sign = self._current
        if sign is None or sign.name != "sign" or sign.text:
            blank = [d for d in self.drafts.groups if d.name == "sign" and not d.text and d.sentence == self._sentence]
            sign = blank[-1] if blank else self._implied_sign()
        sign.text = self._here.value
        self._current = sign
        return self.place + 1

    def _implied_sign(self) -> Draft:
        sign = Draft("sign", sentence=self._sentence)
        self.drafts.groups.append(sign)
        self._text_alone = sign
        return sign

    def _read_says(self) -> int:
        place = self.place + 1
        sign = self._current
        if sign is None or sign.name != "sign" or sign.text or self._here.value not in _LETTERING:
            return place
        words: list[str] = []
        while len(words) < _TEXT_LENGTH and at(self.lexemes, place).kind not in _TEXT_ENDS:
            words.append(at(self.lexemes, place).surface)
            place += 1
        if words:
            sign.text = " ".join(words).upper()
        return place


_TEXT_ENDS: Final = frozenset(
    {Kind.QUOTE, Kind.SAYS, Kind.COMMA, Kind.STOP, Kind.AND, Kind.RELATION, Kind.PREPOSITION, Kind.PLACE, Kind.COPULA}
)
