"""Follow-ups: what a person says of a picture becomes a change of the request and of its requirements."""

from __future__ import annotations

import io
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any, NamedTuple

import pytest

from gems.backends.sketch.chat import SketchChat
from gems.backends.sketch.language import read_prompt
from gems.backends.sketch.lexicon import LEXICON
from gems.backends.sketch.render import render
from gems.backends.sketch.scene import Group, Relation, Scene, SceneSpec, Thing
from gems.backends.sketch.vocabulary import COLORS, NUMBERS, OBJECTS, RELATIONS, TEXTURES, plural
from gems.core.messages import EncodedImage, Task, compose
from gems.core.replies import Amendment, RequirementItem, Requirements, Verdicts
from gems.evals import geneval, geneval2


def answer(task: Task, fields: dict[str, Any], *images: EncodedImage) -> str:
    return str(SketchChat().invoke(compose(task, "Instructions.", fields, images)).content)


def decompose(prompt: str) -> list[RequirementItem]:
    return Requirements.model_validate_json(answer("decompose", {"request": {"prompt": prompt}})).requirements


class Thread:
    """A request with its requirements through its follow-ups, as the nodes keep them."""

    def __init__(self, prompt: str, items: list[RequirementItem] | None = None) -> None:
        self.prompt = prompt
        self.items = decompose(prompt) if items is None else items
        self.last: Amendment | None = None

    def say(self, message: str) -> Amendment:
        given = [{"id": item.id, "question": item.question, "kind": item.kind} for item in self.items]
        fields = {"request": {"prompt": self.prompt}, "requirements": given, "message": message}
        self.last = Amendment.model_validate_json(answer("amend", fields))
        ids = {item.id for item in self.items}
        assert set(self.last.drop) <= ids, message
        kept = ids - set(self.last.drop)
        for number, item in enumerate(self.last.add, 1):
            assert item.id == f"n{number}"
            assert set(item.depends_on) <= kept | {f"n{earlier}" for earlier in range(1, number)}, message
        # The nodes give the new ones names of their own, so that n1 is free again.
        rank = 1 + max((int(item.id[1:]) for item in self.items), default=0)
        self.items = [item for item in self.items if item.id in kept]
        self.items += [it.model_copy(update={"id": f"r{rank + n}"}) for n, it in enumerate(self.last.add)]
        self.prompt = self.last.request
        return self.last

    @property
    def questions(self) -> list[str]:
        return [item.question for item in self.items]


def amended(prompt: str, message: str) -> str:
    return Thread(prompt).say(message).request


# What people say


@pytest.mark.parametrize(
    ("prompt", "message", "request_"),
    [
        # Colours and materials
        ("a red car and a dog", "make the car blue", "a blue car and a dog"),
        ("a red car and a dog", "Make the car blue.", "a blue car and a dog"),
        ("a red car and a dog", "Could you make the car blue, please?", "a blue car and a dog"),
        ("a red car and a dog", "the car should be blue instead", "a blue car and a dog"),
        ("a red car and a dog", "paint the car blue", "a blue car and a dog"),
        ("a red car and a dog", "I want the car to be blue", "a blue car and a dog"),
        ("a red car and a dog", "change the color of the car to blue", "a blue car and a dog"),
        ("a red car and a dog", "the color of the car should be blue", "a blue car and a dog"),
        ("a red car and a dog", "a blue car instead", "a blue car and a dog"),
        ("a red car and a dog", "blue instead of red", "a blue car and a dog"),
        ("a red car and a dog", "make the red one blue", "a blue car and a dog"),
        ("a red car and a dog", "the car in blue", "a blue car and a dog"),
        ("a photo of a bench", "paint it red", "a photo of a red bench"),
        ("a dog", "make the dog orange", "an orange dog"),
        ("an orange and an apple", "make the orange blue", "a blue orange and an apple"),
        ("a dog", "make the dog dark blue", "a dark blue dog"),
        ("a dark blue dog", "make it red", "a red dog"),
        ("a fluffy dog in watercolor", "make the dog black", "a fluffy black dog in watercolor"),
        ("three apples and a bowl", "make the apples striped", "three striped apples and a bowl"),
        ("three apples and a bowl", "add stripes to the apples", "three striped apples and a bowl"),
        ("three spotted kangaroos", "remove the spots", "three kangaroos"),
        ("a dog", "the dog must be made of metal", "a metal dog"),
        ("a dog and a cat", "make the dog blue and the cat red", "a blue dog and a red cat"),
        ("a dog and a cat", "dog blue, cat red", "a blue dog and a red cat"),
        ("a dog and a cat", "everything should be green", "a green dog and a green cat"),
        ("a dog, a cat and a horse", "make the dog and the cat blue", "a blue dog, a blue cat and a horse"),
        ("a red dog and a blue dog", "make the blue dog yellow", "a red dog and a yellow dog"),
        ("three dogs", "one of the dogs should be black", "two dogs and a black dog"),
        ("three dogs, one is black and two are brown", "make the black dog white",
         "three dogs, one is white and two are brown"),
        # Numbers
        ("two dogs and a car", "three dogs instead of two", "three dogs and a car"),
        ("two dogs and a car", "three dogs, not two", "three dogs and a car"),
        ("two dogs and a car", "three instead of two", "three dogs and a car"),
        ("two apples", "make it four apples", "four apples"),
        ("two apples", "make it four", "four apples"),
        ("two apples", "there should be four apples", "four apples"),
        ("two apples", "change the number of apples to four", "four apples"),
        ("Please draw two apples, 4k", "four apples", "Please draw four apples, 4k"),
        ("five cats", "reduce the cats to two", "two cats"),
        ("two dogs and three cats", "only two cats", "two dogs and two cats"),
        ("two dogs and three cats", "four dogs and one cat", "four dogs and a cat"),
        ("two dogs and three cats", "one dog less", "a dog and three cats"),
        ("five apples", "one more apple", "six apples"),
        ("five apples", "add three more apples", "eight apples"),
        ("five apples", "remove two apples", "three apples"),
        ("a kitten", "another kitten please", "two kittens"),
        # Things that go
        ("a red car and a dog", "remove the dog", "a red car"),
        ("a red car and a dog", "no dog please", "a red car"),
        ("a red car left of a dog", "without the dog", "a red car"),
        ("a red car and a dog", "the dog should be gone", "a red car"),
        ("a red car and a dog", "take the dog away", "a red car"),
        ("a red car and a dog", "I don't want a dog", "a red car"),
        ("a dog, a cat and a horse", "remove the cat and the horse", "a dog"),
        ("a dog left of a cat right of a tree", "remove the cat", "a dog and a tree"),
        ("a red dog and a blue dog", "remove the red dog", "a blue dog"),
        ("a dog and a dragon", "remove the dragon", "a dog"),
        ("a dog", "remove the dog", "without any dogs"),
        ("a car", "no trees", "a car without any trees"),
        # Things that come
        ("a red car and a dog", "add two cats", "a red car and a dog and two cats"),
        ("a red car and a dog", "two cats, please", "a red car and a dog and two cats"),
        ("a dog", "add a red ball left of the dog", "a dog and a red ball left of the dog"),
        ("a cat", "Can you add a dog next to it?", "a cat and a dog next to the cat"),
        ("a cat", "put a dog left of the cat", "a cat and a dog left of the cat"),
        ("a cat", "move the cat next to a tree", "a cat. The cat is next to a tree."),
        ("a dog", "add a dragon", "a dog and a dragon"),
        ("a dog", "give the dog a red hat", "a dog. The dog has a red hat."),
        ("a cat", "add a dog and make it black", "a cat and a black dog"),
        # One thing for another
        ("a dog and a cat", "replace the dog with a horse", "a horse and a cat"),
        ("a dog and a cat", "instead of the cat, a horse", "a dog and a horse"),
        ("a dog and a cat", "the dog should be a horse", "a horse and a cat"),
        ("a cat", "turn the cat into three dogs", "three dogs"),
        ("three dogs", "replace one of the dogs with a cat", "two dogs and a cat"),
        # Places
        ("a dog left of a tree", "put the dog on the right of the tree", "a dog to the right of a tree"),
        ("a dog left of a tree", "the dog should be on the right", "a dog to the right of a tree"),
        ("a dog and a tree", "move the dog behind the tree", "a dog and a tree. The dog is behind the tree."),
        ("a dog left of a cat", "swap the dog and the cat", "a dog and a cat. The cat is to the left of the dog."),
        # Backgrounds
        ("a dog at the beach", "change the background to a forest", "a dog in a forest"),
        ("a dog on the grass", "in the snow instead", "a dog in the snow"),
        ("a dog on the grass", "snow instead of grass", "a dog in the snow"),
        ("a dog", "put it on the beach", "a dog at the beach"),
        ("a dog", "make it night", "a dog at night"),
        # Writing
        ('a sign that says "CLOSED"', 'the sign should say "OPEN"', 'a sign that says "OPEN"'),
        ('a sign that says "CLOSED"', 'change "CLOSED" to "Open and free"', 'a sign that says "Open and free"'),
        ('a sign that says "CLOSED"', "the sign should read open", 'a sign that says "open"'),
        ('a dog and a sign that says "OPEN"', "remove the text", "a dog and a sign"),
        ("a dog", 'write "HI" on a sign', 'a dog and a sign that says "HI"'),
        # Several at once, and what cannot be read
        ("a red car and a dog", "make the car blue and remove the dog", "a blue car"),
        ("a dog and a cat", "get rid of the cat, make the dog brown, and put it on the beach", "a brown dog at the beach"),
        ("a red car", "make it blue with warmer light", "a blue car, warmer light"),
        ("a dog", "warmer light", "a dog, warmer light"),
        ("a dog", "make it bigger", "a dog, make it bigger"),
        ("a dog on a couch in the style of Monet", "make the couch red", "a dog on a red couch in the style of Monet"),
        ("a cat", "perfect, thanks!", "a cat"),
    ],
)  # fmt: skip
def test_the_request_is_as_if_it_had_been_asked_so_at_once(prompt: str, message: str, request_: str) -> None:
    assert amended(prompt, message) == request_


@pytest.mark.parametrize(
    ("prompt", "message", "dropped", "added"),
    [
        ("a red car and a dog", "make the car blue", ["r3"], [("Is the car blue?", "attribute", ["r1"])]),
        ("a red car left of a dog", "no dog please", ["r4", "r5", "r6"], [("Are there no dogs?", "count", [])]),
        ("two dogs", "make it three", ["r2"], [("Are there exactly three dogs?", "count", ["r1"])]),
        ("a dog and a tree", "the dog should be behind the tree", [],
         [("Is the dog behind the tree?", "spatial", ["r1", "r3"])]),
        ("a dog", "add a cat left of the dog", [], [
            ("Is there a cat?", "object", []), ("Is there exactly one cat?", "count", ["n1"]),
            ("Is the cat to the left of the dog?", "spatial", ["n1", "r1"])]),
        ("a dog at the beach", "in the snow", ["r3"], [("Is the background snow?", "other", [])]),
        ('a sign that says "CLOSED"', 'it should read "OPEN"', ["r3"], [('Does the sign say "OPEN"?', "text", ["r1"])]),
        ("a dog", "add a dragon", [], [("Is there any dragon?", "object", [])]),
        ("a car", "no trees", [], [("Are there no trees?", "count", [])]),
        ("a dog", "make the dog teal", [], [('Does the picture follow "teal" of the request as meant?', "other", [])]),
        ("a dog", "warmer light", [],
         [('Does the picture follow "warmer light" of the request as meant?', "style", [])]),
        ("a dog", 'as in the film "Up"', [],
         [("Does the picture follow \"as in the film 'Up'\" of the request as meant?", "other", [])]),
        ("a dog", "", [], []),
    ],
)  # fmt: skip
def test_requirements_that_still_hold_keep_their_names(
    prompt: str, message: str, dropped: list[str], added: list[tuple[str, str, list[str]]]
) -> None:
    amendment = Thread(prompt).say(message)
    assert amendment.drop == dropped
    assert [(item.question, item.kind, item.depends_on) for item in amendment.add] == added


def test_what_cannot_be_read_is_neither_met_nor_unmet() -> None:
    thread = Thread("a dog")
    thread.say("warmer light")
    thread.say('as in the film "Up", with more space between them')
    buffer = io.BytesIO()
    render(Scene((Thing("dog", 0.5, 0.5, 0.3, "brown"),), "grass"), 512, 512).save(buffer, "PNG")
    asked = [item.model_dump() for item in thread.items]
    reply = Verdicts.model_validate_json(
        answer("judge", {"requirements": asked}, EncodedImage(buffer.getvalue(), "image/png", ""))
    )
    verdicts = {item.id: item.verdict for item in reply.verdicts}
    follows = [item.id for item in thread.items if "as meant" in item.question]
    assert len(follows) >= 2
    assert {verdicts[name] for name in follows} == {"unknown"}
    assert {verdict for name, verdict in verdicts.items() if name not in follows} == {"met"}


# Later follow-ups


def test_follow_ups_add_up() -> None:
    thread = Thread("a red car and a dog in watercolor")
    for message in (
        "make the car blue",
        "warmer light",
        "add two cats",
        "remove the dog",
        "one more cat",
        "the car is wooden",
    ):
        thread.say(message)
    spec = read_prompt(thread.prompt).spec
    assert sorted(spec.groups, key=lambda it: it.name) == [Group("car", 1, "blue", "wooden"), Group("cat", 3)]
    assert "watercolor" in thread.prompt
    assert "warmer light" in thread.prompt
    assert sorted(thread.questions) == sorted([
        "Is there a car?", "Is there exactly one car?", "Is the car blue?", "Is the car made of wood?",
        "Are there any cats?", "Are there exactly three cats?", "Are there no dogs?",
        'Does the picture follow "warmer light" of the request as meant?',
    ])  # fmt: skip


def test_what_went_may_come_back() -> None:
    thread = Thread("a car and a dog")
    thread.say("remove the dog")
    assert "Are there no dogs?" in thread.questions
    thread.say("add three dogs")
    assert thread.prompt == "a car and three dogs"
    assert "Are there no dogs?" not in thread.questions
    assert "Are there exactly three dogs?" in thread.questions


def test_a_change_taken_back_leaves_what_was_there() -> None:
    thread = Thread("a red car left of a dog")
    before = sorted(thread.questions)
    thread.say("make the car blue")
    thread.say("make the car red")
    assert thread.prompt == "a red car left of a dog"
    assert sorted(thread.questions) == before


def items(*questions: tuple[str, str]) -> list[RequirementItem]:
    return [
        RequirementItem(id=f"r{number}", question=question, kind=kind)  # type: ignore[arg-type]  # as a test says
        for number, (question, kind) in enumerate(questions, 1)
    ]


def test_questions_of_others_go_when_the_change_contradicts_them() -> None:
    asked = [
        ("Can you see a car?", "object"),
        ("Is the car's color red?", "attribute"),
        ("Is the dog fluffy?", "other"),
    ]
    thread = Thread("a red car and a dog", items(*asked))
    assert thread.say("make the car blue").drop == ["r2"]
    assert thread.say("remove the dog").drop == ["r3"]
    assert "Can you see a car?" in thread.questions


def test_a_question_about_the_whole_request_is_asked_anew() -> None:
    whole = "Does the picture show all of this: a red car?"
    thread = Thread("a red car", items((whole, "other")))
    thread.say("make it blue")
    assert whole not in thread.questions
    assert thread.questions == [item.question for item in decompose("a blue car")]


# Properties


class Case(NamedTuple):
    message: str
    spec: SceneSpec


def told(group: Group) -> str:
    noun = group.name if group.count == 1 else plural(group.name)
    return " ".join(word for word in (group.color, group.texture, noun) if word)


def recolored(spec: SceneSpec, place: int, rng: Random) -> Case:
    group, color = spec.groups[place], rng.choice(sorted(COLORS))
    name = group.name if group.count == 1 else plural(group.name)
    frame = rng.choice(["make the {} {}", "the {} should be {}", "Please paint the {} {}!", "I'd like the {} to be {}"])
    return Case(frame.format(name, color), regrouped(spec, place, replace(group, color=color)))


def retextured(spec: SceneSpec, place: int, rng: Random) -> Case:
    group, texture = spec.groups[place], rng.choice(TEXTURES)
    name = group.name if group.count == 1 else plural(group.name)
    frame = rng.choice(["make the {} {}", "the {} should be {} instead"])
    return Case(frame.format(name, texture), regrouped(spec, place, replace(group, texture=texture)))


def recounted(spec: SceneSpec, place: int, rng: Random) -> Case:
    group = spec.groups[place]
    count = rng.choice([number for number in range(2, 8) if number != group.count])
    frame = rng.choice(["make it {} {}", "there should be {} {}", "I want {} {}", "{} {} instead"])
    return Case(frame.format(NUMBERS[count], plural(group.name)), regrouped(spec, place, replace(group, count=count)))


def removed(spec: SceneSpec, place: int, rng: Random) -> Case:
    group = spec.groups[place]
    frame = rng.choice(
        ["remove the {}", "no {} please", "without the {}", "get rid of the {}", "the {} should be gone"]
    )
    kept = [index for index in range(len(spec.groups)) if index != place]
    relations = [it for it in spec.relations if place not in (it.subject, it.object)]
    moved = [replace(it, subject=kept.index(it.subject), object=kept.index(it.object)) for it in relations]
    return Case(
        frame.format(told(group)), SceneSpec(tuple(spec.groups[it] for it in kept), tuple(moved), spec.background)
    )


def grown(spec: SceneSpec, _: int, rng: Random) -> Case:
    name = rng.choice(sorted(OBJECTS.keys() - {group.name for group in spec.groups} - {"sign", "orange"}))
    new = Group(name, rng.randint(1, 4), rng.choice([None, *sorted(COLORS)]))
    words = told(new)
    article = "an" if words[0] in "aeiou" else "a"
    said = f"{article} {words}" if new.count == 1 else f"{NUMBERS[new.count or 0]} {words}"
    frame = rng.choice(["add {}", "Could you add {}?", "please include {}"])
    return Case(frame.format(said), replace(spec, groups=(*spec.groups, new)))


def moved(spec: SceneSpec, place: int, rng: Random) -> Case:
    other = rng.choice([index for index in range(len(spec.groups)) if index != place])
    relation = rng.choice(["left of", "right of", "above", "below", "behind", "in front of", "on top of", "under"])
    frame = rng.choice(["put the {} {} the {}", "move the {} {} the {}", "the {} should be {} the {}"])
    names = [it.name if it.count == 1 else plural(it.name) for it in (spec.groups[place], spec.groups[other])]
    kept = [it for it in spec.relations if {it.subject, it.object} != {place, other}]
    relations = (*kept, Relation(place, relation, other))
    return Case(frame.format(names[0], RELATIONS[relation][0], names[1]), replace(spec, relations=relations))


def staged(spec: SceneSpec, _: int, rng: Random) -> Case:
    background, words = rng.choice(
        [("beach", "at the beach"), ("snow", "in the snow"), ("forest", "in a forest"), ("night", "at night")]
    )
    frame = rng.choice(["{}", "{} instead", "move it all {}"])
    return Case(frame.format(words), replace(spec, background=background))


def regrouped(spec: SceneSpec, place: int, group: Group) -> SceneSpec:
    return replace(spec, groups=(*spec.groups[:place], group, *spec.groups[place + 1 :]))


def facts(spec: SceneSpec) -> tuple[Counter[Group], frozenset[tuple[Group, str, Group]], str | None]:
    bonds = ((spec.groups[it.subject], it.relation, spec.groups[it.object]) for it in spec.relations)
    return Counter(spec.groups), frozenset(bonds), spec.background


CHANGES: list[Callable[[SceneSpec, int, Random], Case]] = [
    recolored, retextured, recounted, removed, grown, moved, staged,
]  # fmt: skip
REQUESTS = [prompt.prompt for prompt in geneval2.generate(60, 5)] + [
    prompt.prompt for prompt in geneval.generate(60, 5)
]


@pytest.mark.parametrize("change", CHANGES)
def test_the_amended_request_reads_back_as_exactly_the_changed_scene(
    change: Callable[[SceneSpec, int, Random], Case],
) -> None:
    rng = Random(change.__name__)
    tried = 0
    for prompt in REQUESTS:
        spec = read_prompt(prompt).spec
        if change in (removed, moved) and len(spec.groups) < 2:
            continue
        case = change(spec, rng.randrange(len(spec.groups)), rng)
        if facts(case.spec) == facts(spec):
            continue
        thread = Thread(prompt)
        thread.say(case.message)
        reading = read_prompt(thread.prompt)
        assert facts(reading.spec) == facts(case.spec), (prompt, case.message, thread.prompt)
        assert (reading.unknown, reading.ignored, reading.unfollowed) == ((), (), ()), (
            prompt,
            case.message,
            thread.prompt,
        )
        expected = {item.question for item in decompose(thread.prompt)}
        gone = {group.name for group in spec.groups} - {group.name for group in case.spec.groups}
        expected |= {f"Are there no {plural(name)}?" for name in gone}
        assert set(thread.questions) == expected, (prompt, case.message)
        tried += 1
    assert tried > 60


def test_threads_of_many_follow_ups_stay_exact() -> None:
    rng = Random(3)
    for prompt in REQUESTS[:40]:
        thread, spec = Thread(prompt), read_prompt(prompt).spec
        for _ in range(4):
            change = rng.choice(CHANGES)
            if change in (removed, moved) and len(spec.groups) < 2:
                continue
            case = change(spec, rng.randrange(len(spec.groups)), rng)
            before = thread.prompt
            thread.say(case.message)
            spec = read_prompt(thread.prompt).spec
            assert facts(spec) == facts(case.spec), (before, case.message, thread.prompt)


def test_nothing_is_lost_and_nothing_crashes_whatever_is_said() -> None:
    rng = Random(9)
    words = [
        *rng.sample(sorted(LEXICON), 150),
        "make",
        "the",
        "it",
        "remove",
        "add",
        "and",
        "instead of",
        '"',
        ",",
        ".",
        "é",
        "🐸",
    ]
    requests = [
        "a fluffy dog and a dragon in watercolor",
        'two red cars left of a sign that says "HI"',
        "glory",
        "not",
        "?",
    ]
    removing = {"no", "zero", "remove", "without", "not any", "free of", "excluding", "instead of", "without any"}
    for _ in range(150):
        prompt = rng.choice(requests)
        said = rng.choices(words, k=rng.randint(1, 12))
        thread = Thread(prompt)
        thread.say(" ".join(said))
        assert thread.prompt
        assert thread.items
        if not removing & set(said):
            before, after = read_prompt(prompt), read_prompt(thread.prompt)
            names = {group.name for group in after.spec.groups if group.count}
            assert {group.name for group in before.spec.groups} <= names, (prompt, said, thread.prompt)
            assert set(before.unknown) <= {*after.unknown, *after.ignored}, (prompt, said, thread.prompt)
    for message in ("," * 3000, "and " * 2000, "make the " * 1000, '"' * 999, "\n\n", "</gems>"):
        thread = Thread(requests[0])
        thread.say(message)
        for word in ("fluffy", "dog", "dragon", "watercolor"):
            assert word in thread.prompt


def test_long_messages_are_read_in_reasonable_time() -> None:
    message = "make the dog blue, and the cat red and with a hat, then the car green but not the tree; " * 4
    start = time.process_time()
    amended("a dog, a cat, a car and a tree next to a dragon", message * 3)
    assert time.process_time() - start < 10
