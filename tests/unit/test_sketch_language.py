"""Reading prompts and questions, and refusing what cannot be drawn."""

from __future__ import annotations

import contextlib
import time
from random import Random

import pytest

from gems.backends.sketch.atoms import atoms
from gems.backends.sketch.check import check_prompt
from gems.backends.sketch.decomposing import decompose
from gems.backends.sketch.language import read_prompt
from gems.backends.sketch.lexicon import LEXICON
from gems.backends.sketch.questions import Question, read_question, say
from gems.backends.sketch.scene import Group, Relation, SceneSpec
from gems.backends.sketch.vocabulary import (
    COCO_NAMES,
    COLORS,
    GENEVAL2_NAMES,
    NUMBERS,
    OBJECTS,
    TEXTURES,
    plural,
)
from gems.backends.sketch.wordlists import ADJECTIVES, NOUNS, SHADES, SILENT, VERBS
from gems.core.errors import OutOfVocabulary

Triple = tuple[int, str, int]


def article(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def read(prompt: str) -> tuple[list[Group], list[Triple]]:
    spec = read_prompt(prompt).spec
    return list(spec.groups), [(r.subject, r.relation, r.object) for r in spec.relations]


# GenEval's grammar, all of its classes.


@pytest.mark.parametrize("name", COCO_NAMES)
def test_geneval_reads_every_class_in_every_tag(name: str) -> None:
    other = "clock" if name != "clock" else "tv remote"
    one = Group(name)
    assert read(f"a photo of {article(name)}") == ([one], [])
    assert read(f"a photo of {article(name)} and {article(other)}") == ([one, Group(other)], [])
    assert read(f"a photo of {article(other)} and {article(name)}") == ([Group(other), one], [])
    for number in (2, 3, 4):
        assert read(f"a photo of {NUMBERS[number]} {plural(name)}") == ([Group(name, number)], [])
    for color in COLORS:
        assert read(f"a photo of {article(f'{color} {name}')}") == ([Group(name, 1, color)], [])
    for relation in ("left of", "right of", "above", "below"):
        prompt = f"a photo of {article(name)} {relation} {article(other)}"
        assert read(prompt) == ([one, Group(other)], [(0, relation, 1)])
    both = read(f"a photo of a purple {name} and an orange {other}")
    assert both == ([Group(name, 1, "purple"), Group(other, 1, "orange")], [])
    reading = read_prompt(f"a photo of {article(name)}")
    assert (reading.unknown, reading.ignored) == ((), ())


def test_geneval_sentences_with_pitfalls() -> None:
    assert read("a photo of a green skis and a white airplane") == (
        [Group("skis", 1, "green"), Group("airplane", 1, "white")],
        [],
    )
    assert read("a photo of an orange right of an orange orange") == (
        [Group("orange"), Group("orange", 1, "orange")],
        [(0, "right of", 1)],
    )
    assert read("a photo of a wine glass above a glass cup")[0] == [
        Group("wine glass"),
        Group("cup", 1, texture="glass"),
    ]


# GenEval2's grammar: groups in a row, joined by "and", ", and" or a relation.

_LINKS = {
    "left of": "to the left of",
    "right of": "to the right of",
    "on top of": "on top of",
    "under": "under",
    "in front of": "in front of",
    "behind": "behind",
    "playing with": "playing with",
    "jumping over": "jumping over",
    "chasing": "chasing",
}


def geneval2(rng: Random) -> tuple[str, list[Group], list[Triple]]:
    text, groups, relations = "", [], []
    for index, name in enumerate(rng.sample(GENEVAL2_NAMES, rng.randint(1, 3))):
        count, attribute = rng.randint(1, 7), rng.choice([None, *COLORS, *TEXTURES])
        noun = name if count == 1 else f"{name}s" if name == "sheep" else plural(name)
        described = f"{attribute} {noun}" if attribute else noun
        phrase = article(described) if count == 1 else f"{NUMBERS[count]} {described}"
        color, texture = (attribute, None) if attribute in COLORS else (None, attribute)
        groups.append(Group(name, count, color, texture))
        joint = rng.choice([" and ", ", and ", *_LINKS]) if index else ""
        if joint in _LINKS:
            relations.append((index - 1, joint, index))
            joint = f" {_LINKS[joint]} "
        text += joint + phrase
    return text, groups, relations


def test_geneval2_grammar() -> None:
    rng = Random(11)
    for _ in range(1500):
        prompt, groups, relations = geneval2(rng)
        reading = read_prompt(prompt)
        assert read(prompt) == (groups, relations), prompt
        assert (reading.unknown, reading.ignored) == ((), ()), prompt


def test_a_chain_binds_each_relation_to_its_neighbours() -> None:
    groups, relations = read("four owls under two kites to the right of a purple lamb, and six sheeps")
    assert [group.name for group in groups] == ["owl", "kite", "sheep", "sheep"]
    assert relations == [(0, "under", 1), (1, "right of", 2)]


# How people write.

_DOG, _CAT = Group("dog"), Group("cat")


@pytest.mark.parametrize(
    ("prompt", "groups", "relations"),
    [
        ("3 dogs", [Group("dog", 3)], []),
        ("a pair of mugs and half a dozen bikes", [Group("cup", 2), Group("bicycle", 6)], []),
        ("a dozen eggs-free donuts", [Group("donut", 12)], []),
        ("two pairs of scissors", [Group("scissors", 2)], []),
        ("twenty-five cats", [Group("cat", 25)], []),
        ("some cats and several dogs", [Group("cat", None), Group("dog", None)], []),
        ("a street with no people and a red car", [Group("person", 0), Group("car", 1, "red")], []),
        ("a dog without a cat", [_DOG, Group("cat", 0)], []),
        ("a dog and another dog", [_DOG, _DOG], []),
        (
            "Please draw a cat on a wooden table",
            [_CAT, Group("dining table", 1, None, "wooden")],
            [(0, "on top of", 1)],
        ),
        ("the dog is to the left of the cat. The dog is black.", [Group("dog", 1, "black"), _CAT], [(0, "left of", 1)]),
        ("a dog with a cat behind it", [_DOG, _CAT], [(1, "behind", 0)]),
        ("a dog. Next to it is a cat", [_DOG, _CAT], [(1, "near", 0)]),
        ("a tree, behind it a house", [Group("tree"), Group("house")], [(1, "behind", 0)]),
        ("next to the cat is a dog", [_CAT, _DOG], [(1, "near", 0)]),
        ("a dog between a cat and a horse", [_DOG, _CAT, Group("horse")], [(1, "left of", 0), (0, "left of", 2)]),
        ("a cat on the left and a dog on the right", [_CAT, _DOG], [(0, "left of", 1)]),
        ("on the left is a cat, on the right is a dog", [_CAT, _DOG], [(0, "left of", 1)]),
        ("a cat at the top and a dog at the bottom of the picture", [_CAT, _DOG], [(0, "above", 1)]),
        ("a dog with a house in the background", [_DOG, Group("house")], [(0, "in front of", 1)]),
        ("a cat to the immediate right of a dog", [_CAT, _DOG], [(0, "right of", 1)]),
        ("a kitchen sink", [Group("sink")], []),
        ("a vase made of glass", [Group("vase", 1, None, "glass")], []),
        ("a cat with black stripes", [Group("cat", 1, None, "striped")], []),
        ("the cats are orange", [Group("cat", None, "orange")], []),
        ("a grey polka-dot umbrella", [Group("umbrella", 1, "gray", "spotted")], []),
    ],
)
def test_phrasings(prompt: str, groups: list[Group], relations: list[Triple]) -> None:
    assert read(prompt) == (groups, relations)
    assert read_prompt(prompt).unknown == ()


@pytest.mark.parametrize(
    ("prompt", "described"),
    [
        ("two red apples and a green apple", [(2, "red"), (1, "green")]),
        ("two red apples and three green ones", [(2, "red"), (3, "green")]),
        ("two red and three green apples", [(2, "red"), (3, "green")]),
        ("a red and a green apple", [(1, "red"), (1, "green")]),
        ("red and green apples", [(None, "red"), (None, "green")]),
        ("there are three apples; one is red and two are green", [(1, "red"), (2, "green")]),
        ("three apples, one red and two green", [(1, "red"), (2, "green")]),
        ("three apples. One is red, the others are green.", [(1, "red"), (2, "green")]),
        ("three apples (red, green and yellow)", [(1, "red"), (1, "green"), (1, "yellow")]),
        ("three apples, one of them is red", [(2, None), (1, "red")]),
    ],
)
def test_like_things_of_several_colours_are_kept_apart(
    prompt: str, described: list[tuple[int | None, str | None]]
) -> None:
    assert read(prompt) == ([Group("apple", count, color) for count, color in described], [])


def test_a_divided_group_keeps_its_relations() -> None:
    groups, relations = read("three dogs under a kite; one is black and two are brown")
    assert [(group.name, group.color) for group in groups] == [("dog", "black"), ("dog", "brown"), ("kite", None)]
    assert relations == [(0, "under", 2), (1, "under", 2)]


@pytest.mark.parametrize(
    ("prompt", "groups"),
    [
        ('a sign that says "OPEN"', [Group("sign", 1, text="OPEN")]),
        ("a red sign saying 'No Way'", [Group("sign", 1, "red", text="No Way")]),
        ('a dog with the word "HELLO"', [_DOG, Group("sign", 1, text="HELLO")]),
        ("the word “HELLO” on a blue sign", [Group("sign", 1, "blue", text="HELLO")]),
        ('an "EXIT" sign', [Group("sign", 1, text="EXIT")]),
        ("a sign saying hello next to a dog", [Group("sign", 1, text="HELLO"), _DOG]),
        ('a dog and a sign with "HI" on it', [_DOG, Group("sign", 1, text="HI")]),
        ('A dog. The written text reads "HI".', [_DOG, Group("sign", 1, text="HI")]),
        ('a sign with "A" and a sign with "B"', [Group("sign", 1, text="A"), Group("sign", 1, text="B")]),
        ("the dog's bowl", [Group("bowl")]),
    ],
)
def test_quoted_text(prompt: str, groups: list[Group]) -> None:
    assert read(prompt)[0] == groups


@pytest.mark.parametrize(
    ("prompt", "background"),
    [
        ("a cat in a forest", "forest"),
        ("two cats at the beach", "beach"),
        ("a dog on the grass", "grass"),
        ("a dog in the snow at night", "snow"),
        ("a cat with mountains in the background", "mountains"),
        ("a cat, city background", "street"),
        ("a cat on a white background", "plain"),
        ("a night sky with three stars", "night"),
        ("a bottle of water", None),
        ("a park bench", None),
        ("a cat", None),
    ],
)
def test_backgrounds(prompt: str, background: str | None) -> None:
    reading = read_prompt(prompt)
    assert reading.spec.background == background
    assert reading.spec.groups
    assert reading.unknown == ()


@pytest.mark.parametrize(
    ("prompt", "unknown"),
    [
        ("a dragon over a castle", ("dragon", "castle")),
        ("dragon, castle and a cat", ("dragon", "castle")),
        ("a cat wearing a hat", ("hat",)),
        ("a cat wearing sunglasses", ("sunglasses",)),
        ("a bird cage", ("bird cage",)),
        ("a glass of juice", ("glass", "juice")),
        ("two gronkles next to a dog", ("gronkles",)),
        ("a majestic shimmering wumpus", ("wumpus",)),
        ("ein hund und eine katze", ("katze",)),
        ("a majestic photo of a cat, highly detailed, 4k", ()),
        ("a cat, vaporwave, brutalist, moody lighting, by Greg Rutkowski, in the style of Monet, --ar 16:9", ()),
        ("Compose the following arrangement for a children's book: a cat jumping", ()),
        ("a very happy little dog running quickly along, as seen by a child", ()),
        ("two dogs watch each other", ()),
    ],
)
def test_what_cannot_be_drawn_is_told_from_what_has_no_effect(prompt: str, unknown: tuple[str, ...]) -> None:
    assert read_prompt(prompt).unknown == unknown


def test_words_without_effect_are_listed() -> None:
    assert read_prompt("a majestic photo of a cat, moody").ignored == ("majestic", "moody")
    assert read_prompt("a cat in a box-free bowl").ignored == ("in", "box-free")
    assert read_prompt("please draw me a photo of a cat").ignored == ()


@pytest.mark.parametrize(
    ("prompt", "unknown"),
    [
        ("five buses and a glass", ("glass",)),
        ("three dogs and a stone", ("stone",)),
        ("two cups and a metal", ("metal",)),
        ("a glass and a red apple", ("glass",)),
        ("a metal and a glass cup", ()),
        ("three cups, one plastic and two metal", ()),
        ("a cat and a goldfish", ("goldfish",)),
        ("three goldfish in a bowl", ("goldfish",)),
        ("a dog and a duckling", ("duckling",)),
        ("a lioness sitting on a bench", ("lioness",)),
        ("a battleship behind a dog", ("battleship",)),
        ("a dog holding lightsaber", ("lightsaber",)),
        ("a cat eating Cheetos", ("cheetos",)),
        ("a velvetish, moody cat in an artistic style", ()),
        ("an artistic image of a cat", ()),
        ("three dogs, two running and one jumping", ()),
        ("a cat and a 🐶", ("🐶",)),
        ("a cat ❤ and a dog", ("cat ❤",)),
        ("a cat… a dog", ()),
        ("a bird house", ("bird house",)),
        ("a butterfly knife and a dog", ("butterfly knife",)),
        ("a toy train", ("toy train",)),
        ("a power plant", ("power plant",)),
        ("a pool table", ("pool table",)),
        ("a cat bed", ("cat bed",)),
        ("a teddy bear, a hot dog, a stop sign and a kitchen table", ()),
        ("a red balloon tied to a bench", ()),
        ("a bigger dog and a dog taller", ()),
    ],
)
def test_a_thing_outside_the_vocabulary_is_not_taken_for_another_or_for_a_look(
    prompt: str, unknown: tuple[str, ...]
) -> None:
    assert read_prompt(prompt).unknown == unknown


@pytest.mark.parametrize(
    ("prompt", "groups"),
    [
        ("five buses and a glass", [Group("bus", 5)]),
        ("a glass and a red apple", [Group("apple", 1, "red")]),
        ("a couple sitting on a bench", [Group("person", 2), Group("bench")]),
        ("a couple", [Group("person", 2)]),
        ("a couple very cute dogs", [Group("dog", 2)]),
        ("a couple of dogs", [Group("dog", 2)]),
        ("a no parking sign", [Group("sign")]),
        ("a red balloon tied to a bench", [Group("balloon", 1, "red"), Group("bench")]),
        ('a sign saying do not enter and a sign that says "NOT"', [Group("sign", 1, text="DO NOT ENTER"),
                                                                  Group("sign", 1, text="NOT")]),
    ],
)  # fmt: skip
def test_words_are_given_to_the_right_group(prompt: str, groups: list[Group]) -> None:
    reading = read_prompt(prompt)
    assert list(reading.spec.groups) == groups
    assert reading.unfollowed == ()


@pytest.mark.parametrize(
    ("prompt", "word"),
    [
        ("a cat or a dog", "or"),
        ("either a cat and a dog", "either"),
        ("neither a cat", "neither"),
        ("a cat nor a dog", "nor"),
        ("a dog, not a cat", "not"),
        ("a cat that isn't black", "not"),
        ("a cat that doesn't sleep", "not"),
        ("a cat. Don't include a dog.", "not"),
        ("a cat. Do not make it red.", "not"),
        ("three dogs except a black one", "except"),
        ("a dog instead of a cat", "instead of"),
        ("three dogs, each with a red ball", "each"),
        ("every dog has a ball", "every"),
        ("a dog taller than a cat", "than"),
        ("at least two dogs", "at least"),
        ("at most two dogs", "at most"),
        ("fewer dogs and a cat", "fewer"),
        ("more than two dogs", "more than"),
        ("a dog and twice a cat", "twice"),
    ],
)
def test_words_that_no_scene_can_say_are_refused(prompt: str, word: str) -> None:
    assert read_prompt(prompt).unfollowed == (word,)
    with pytest.raises(OutOfVocabulary, match=f"cannot follow '{word}': ask for one exact scene"):
        check_prompt(prompt)


@pytest.mark.parametrize(
    "prompt",
    [
        "a cat. Do not add anything.",
        "a cat. Don't add anything else!",
        "two dogs next to each other",
        "a cat higher than a dog",
        "a cat and nothing else",
    ],
)
def test_what_changes_nothing_is_followed(prompt: str) -> None:
    assert read_prompt(prompt).unfollowed == ()


@pytest.mark.parametrize(
    ("prompt", "ignored"),
    [
        ("a dog in the top left corner", ("in the top left corner",)),
        ("a cat on the right", ("on the right",)),
        ("a red ball in the center", ("in the center",)),
        ("a cat on the left and a dog on the left", ("on the left",)),
        ("in the foreground a cat", ("in the foreground",)),
        ("on the left. A cat.", ("on the left",)),
        ("a cat on the left and a dog on the right", ()),
        ("a dog with a house in the background", ()),
        ("on the left is a cat, on the right is a dog", ()),
    ],
)
def test_a_place_that_makes_no_relation_is_reported(prompt: str, ignored: tuple[str, ...]) -> None:
    assert read_prompt(prompt).ignored == ignored


@pytest.mark.parametrize(
    ("prompt", "asked_about"),
    [
        ("a red and white umbrella", ["white"]),
        ("a turquoise car", ["turquoise"]),
        ("a wooden metal chair", ["metal"]),
        ("a cat on the right", ["on the right"]),
        ("a cat in a bowl", ["in"]),
        ("a cat or a dog", ["or"]),
        ("a majestic, moody large cat", []),
        ("a cat on the left and a red dog on the right", []),
    ],
)
def test_a_request_not_wholly_followed_cannot_end_as_satisfied(prompt: str, asked_about: list[str]) -> None:
    items = decompose({"request": {"prompt": prompt}}).requirements
    unreadable = [item for item in items if read_question(item.question) is None]
    assert [item.question for item in unreadable] == [
        f'Does the picture follow "{words}" of the request as meant?' for words in asked_about
    ]
    assert all(item.kind == "other" and not item.depends_on for item in unreadable)


def test_no_question_about_ignored_words_can_be_read() -> None:
    for words in LEXICON:
        assert read_question(f'Does the picture follow "{words}" of the request as meant?') is None


def test_the_words_of_explicit_prompts_are_passed_over() -> None:
    prompt = "First group: exactly two large cats. Second group: exactly one small dog. They are close together."
    assert check_prompt(prompt) == []


def test_the_word_lists_do_not_contradict_each_other() -> None:
    drawable = {
        form for name, word in OBJECTS.items() for base in (name, *word.synonyms) for form in (base, plural(base))
    }
    for words in (SILENT, ADJECTIVES, VERBS, NOUNS):
        assert not words & (drawable | set(COLORS) | set(TEXTURES))
    assert not NOUNS & (ADJECTIVES | SILENT)
    assert SHADES <= ADJECTIVES


# The check before anything is spent.


@pytest.mark.parametrize(
    ("prompt", "named"),
    [
        ("a dragon over a castle", ["'dragon'", "'castle'", "gems init", "GEMS_MLLM", "GEMS_IMAGES", "gems doctor"]),
        ("something beautiful", ["nothing", "GEMS_IMAGES"]),
        ("", ["nothing"]),
        ("no cats", ["nothing"]),
        ("forty-two cats", ["42", "20"]),
        ("eleven cats and eleven dogs", ["22"]),
        ('a sign that says "A VERY LONG TEXT"', ["'A VERY LONG TEXT'", "12"]),
        ('a sign that says "50% OFF"', ["'%'"]),
        ("a " + "z" * 500, ["…"]),
    ],
)
def test_a_prompt_outside_the_vocabulary_is_refused(prompt: str, named: list[str]) -> None:
    with pytest.raises(OutOfVocabulary) as refused:
        check_prompt(prompt)
    assert all(word in str(refused.value) for word in named), str(refused.value)


@pytest.mark.parametrize("prompt", ['two signs "A" and "B"', 'a sign "OPEN" and a sign "SHUT"'])
def test_one_sign_a_picture_is_lettered(prompt: str) -> None:
    with pytest.raises(OutOfVocabulary, match="one sign a picture"):
        check_prompt(prompt)


@pytest.mark.parametrize(
    ("prompt", "name"), [("four scissorses", "scissors"), ("two skises", "skis"), ("three sheeps", "sheep")]
)
def test_the_plurals_of_the_benchmarks_are_read(prompt: str, name: str) -> None:
    (group,) = read_prompt(f"a photo of {prompt}").spec.groups
    assert group.name == name


def test_a_drawable_prompt_passes_with_warnings() -> None:
    assert check_prompt('two cats and a sign that says "Open 24"') == []
    (warning,) = check_prompt("two majestic cats")
    assert "'majestic'" in warning


def test_any_text_can_be_read() -> None:
    rng = Random(5)
    strange = "zzz Qwerty one ones a two 12 ³ ٣ 4k 狗 é"
    phrases = [*LEXICON, *strange.split(), *"\"“”',.;()–\x00"]
    for _ in range(3000):
        words = [rng.choice(phrases) for _ in range(rng.randint(0, 12))]
        text = rng.choice([" ", " ", ""]).join(words)
        for question in atoms(read_prompt(text).spec):
            assert say(question.question)
        read_question(text)
        read_question(f"Is there {text}?")
        with contextlib.suppress(OutOfVocabulary):
            check_prompt(text)
    for _ in range(300):
        read_prompt("".join(chr(rng.randint(0, 0x2FFF)) for _ in range(60)))


@pytest.mark.parametrize(
    "part", ["a red dog and ", "x", '"', "one ", "red, ", "(a ", "a black and two ", "a cat, ", "do not "]
)
def test_long_texts_are_read_in_time(part: str) -> None:
    started = time.process_time()
    read_prompt((part * 20_000)[:20_000])
    assert time.process_time() - started < 3


# Questions.


def asked(aspect: str, subject: Group | None = None, **rest: object) -> Question:
    return Question(aspect, subject, **rest)  # type: ignore[arg-type]


_DOGS = Group("dog", None)


@pytest.mark.parametrize(
    ("text", "question"),
    [
        ("Is there a dog?", asked("object", _DOG)),
        ("Are there any dogs in the image?", asked("object", _DOGS)),
        ("Does the image contain a red dog?", asked("object", Group("dog", 1, "red"))),
        ("Is a dog visible in the picture?", asked("object", _DOG)),
        ("Are there exactly three dogs?", asked("count", Group("dog", 3))),
        ("Is there exactly one pig?", asked("count", Group("pig", 1))),
        ("How many sheeps are in the image? seven", asked("count", Group("sheep", 7))),
        ("How many red dogs are there? Answer: 2", asked("count", Group("dog", 2, "red"))),
        ("Is the number of dogs exactly four?", asked("count", Group("dog", 4))),
        ("Are there no people?", asked("count", Group("person", 0))),
        ("Are there at least two dogs?", asked("count", Group("dog", 2), at_least=True)),
        ("Are there more than two dogs?", asked("count", Group("dog", 3), at_least=True)),
        ("Are exactly two of the apples green?", asked("count", Group("apple", 2, "green"))),
        ("Is the dog red?", asked("attribute", _DOG, color="red")),
        ("Is the cat orange?", asked("attribute", _CAT, color="orange")),
        ("Are all of the dogs red?", asked("attribute", _DOGS, color="red")),
        ("Is the color of the dog red?", asked("attribute", _DOG, color="red")),
        ("Are the dogs striped?", asked("attribute", _DOGS, texture="striped")),
        ("Does the dog have spots?", asked("attribute", _DOG, texture="spotted")),
        ("Is the trumpet made of wood?", asked("attribute", Group("trumpet"), texture="wooden")),
        ("Is the guitar stone?", asked("attribute", Group("guitar"), texture="stone")),
        ("Is the dog to the left of the cat?", asked("spatial", _DOG, relation="left of", other=_CAT)),
        ("Are the dogs jumping over the cat?", asked("spatial", _DOGS, relation="jumping over", other=_CAT)),
        (
            "Is there a dog next to the black cat?",
            asked("spatial", _DOG, relation="near", other=Group("cat", 1, "black")),
        ),
        ('Does the sign say "OPEN"?', asked("text", text="OPEN")),
        ('Is the word "OPEN" spelled correctly?', asked("text", text="OPEN")),
        ("Is the background a beach?", asked("background", background="beach")),
        ("Is the scene set in a forest?", asked("background", background="forest")),
        ("Is the dog in the snow?", asked("background", background="snow")),
        ("Is the background plain?", asked("background", background="plain")),
        (
            "Does the picture show all of this: two dogs left of a cat?",
            asked("whole", spec=SceneSpec((Group("dog", 2), _CAT), (Relation(0, "left of", 1),))),
        ),
    ],
)
def test_questions(text: str, question: Question) -> None:
    assert read_question(text) == question


@pytest.mark.parametrize(
    "text",
    [
        "",
        "How many dogs are in the image?",
        "What color is the dog?",
        "Is the dog fluffy?",
        "Is the dog wearing a hat?",
        "Is there a dragon?",
        "Is the dog not red?",
        "Is the picture majestic?",
        "Is there a dog on the left side of the image?",
        "Are both cats black and white?",
    ],
)
def test_a_question_that_is_not_wholly_understood_is_not_answered(text: str) -> None:
    assert read_question(text) is None


def test_what_is_said_is_read_back() -> None:
    rng = Random(2)
    for _ in range(400):
        prompt, _, _ = geneval2(rng)
        for atom in atoms(read_prompt(f"{prompt} at the beach").spec):
            understood = read_question(say(atom.question))
            assert understood is not None
            assert say(understood) == say(atom.question)
