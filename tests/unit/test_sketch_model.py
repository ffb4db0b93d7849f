"""The embedded engine's model: captions, tokens, layouts, the pipeline and its training, on tiny random weights."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from gems.backends.sketch import layout
from gems.backends.sketch.captions import (
    DENSE_FRAMES,
    DENSE_STYLES,
    HELD_OUT_DENSE_FRAMES,
    HELD_OUT_TERSE_FRAMES,
    TERSE_FRAMES,
    Mark,
    dense_caption,
    dense_prompt,
    place_of,
    terse_caption,
    terse_prompt,
    unmark,
)
from gems.backends.sketch.compose import compose, holds, overlaps
from gems.backends.sketch.evaluate import GENEVAL_TAGS, Case, atom_count, geneval2_spec, geneval_spec, is_right, rate
from gems.backends.sketch.examples import NOISE, mislabelled, random_example, random_spec
from gems.backends.sketch.model import SketchDenoiser, SketchTextEncoder
from gems.backends.sketch.pipeline import GUIDANCE_SCALE, SketchPipeline, pad
from gems.backends.sketch.scene import Group, Relation, Scene, SceneSpec, Thing
from gems.backends.sketch.tokenizer import TOKENS, SketchTokenizer, tokenize
from gems.backends.sketch.train import Budget, Training, collate
from gems.backends.sketch.vocabulary import BACKGROUNDS, COLORS, MAX_OBJECTS, OBJECTS, RELATIONS, TEXTURES

CHAIN = SceneSpec(
    (Group("suitcase", 5), Group("kangaroo", 5, texture="spotted"), Group("donut", 1, "green")),
    (Relation(0, "under", 1), Relation(1, "right of", 2)),
)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def pipeline() -> SketchPipeline:
    torch.manual_seed(0)
    built = SketchPipeline(
        SketchTextEncoder(width=32, layers=1, heads=2),
        SketchDenoiser(width=32, layers=2, heads=2, text_width=32),
        FlowMatchEulerDiscreteScheduler(shift=3.0),
    )
    built.set_progress_bar_config(disable=True)
    return built


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draw(pipeline: SketchPipeline, prompt: str, seed: int, **options: float) -> Scene:
    return pipeline(prompt, generator=seeded(seed), num_inference_steps=3, output_type="layout", **options).scenes[0]


# Captions


def test_terse_prompt_speaks_geneval2() -> None:
    assert terse_prompt(CHAIN) == "five suitcases under five spotted kangaroos to the right of a green donut"
    sheep = SceneSpec((Group("cat", 6, texture="checkered"), Group("sheep", 7)))
    assert terse_prompt(sheep) == "six checkered cats and seven sheep"
    sign = SceneSpec((Group("sign", 1, text="OPEN 24"),), (), "beach")
    assert terse_prompt(sign) == 'a sign that says "OPEN 24" on the beach'


@pytest.mark.parametrize("style", range(DENSE_STYLES))
def test_dense_prompt_is_stable_and_names_every_group(style: int) -> None:
    prompt = dense_prompt(CHAIN, style)
    assert prompt == dense_prompt(CHAIN, style)
    tokens = [token.token for token in tokenize(prompt)]
    assert {"suitcase", "kangaroo", "spotted", "donut", "green"} <= set(tokens)
    assert "<unk>" not in tokens


def test_dense_places_let_the_relations_hold() -> None:
    spec = SceneSpec((Group("dog", 2), Group("cat", 3)), (Relation(0, "left of", 1),))
    prompt = dense_prompt(spec, 0)
    first, second = prompt.split(".")[:2]
    columns = ("far left", "left", "center", "right", "far right")

    def column(sentence: str) -> int:
        place = re.sub(r", .*", "", sentence)
        return max(
            (i for i, name in enumerate(columns) if place.endswith(name)), key=lambda i: len(columns[i]), default=2
        )

    assert column(first) < column(second)
    assert dense_prompt(spec, 0) != dense_prompt(spec, DENSE_STYLES)


def test_depth_and_distance_are_said_beside_places() -> None:
    spec = SceneSpec(
        (Group("dog", 2), Group("cat", 1), Group("cow", 1)), (Relation(0, "behind", 1), Relation(1, "near", 2))
    )
    prompt = dense_prompt(spec, 2)
    assert "two small dogs" in prompt
    assert "one large cat" in prompt
    assert prompt.count("close together") == 2


def test_marks_are_taken_out() -> None:
    caption = unmark("{2}two cats and {1}a dog")
    assert caption.text == "two cats and a dog"
    assert caption.marks == (Mark(0, 2), Mark(13, 1))


def test_dense_captions_are_true_and_announce_every_thing() -> None:
    rng = Random(1)
    styles = list(range(DENSE_STYLES)) * 25
    for style in styles:
        spec = random_spec(rng)
        composition = compose(spec, rng)
        if composition is None:
            continue
        assert holds(spec, list(composition))
        caption = dense_caption(spec, composition, style, rng)
        assert sum(mark.number for mark in caption.marks) == sum(len(things) for things in composition)
        offsets = {token.offset for token in tokenize(caption.text)}
        assert {mark.offset for mark in caption.marks} <= offsets
        tokens = {token.token for token in tokenize(caption.text)}
        assert {group.name for group in spec.groups} <= tokens
        assert {group.color for group in spec.groups if group.color} <= tokens
        for group in spec.groups:
            assert f'"{group.text}"' in caption.text or not group.text


def test_terse_captions_carry_the_documented_noise() -> None:
    rng = Random(2)
    spec = SceneSpec((Group("dog", 4),))
    wrong = sum(mislabelled(spec, rng).groups[0].count != 4 for _ in range(2000)) / 2000
    assert wrong == pytest.approx(NOISE.count_more, abs=0.05)
    signs = SceneSpec((Group("sign", 1, text="HELLO"),))
    misspelt = sum(mislabelled(signs, rng).groups[0].text != "HELLO" for _ in range(2000)) / 2000
    assert misspelt == pytest.approx(NOISE.misspelt, abs=0.06)


def test_captions_cover_the_vocabulary() -> None:
    rng = Random(3)
    examples = [random_example(rng) for _ in range(2500)]
    tokens = {token.token for example in examples for token in tokenize(example.caption.text)}
    assert set(OBJECTS) <= tokens
    assert set(COLORS) | set(TEXTURES) <= tokens
    assert {"~" + relation for relation in RELATIONS} <= tokens
    assert {"@" + background for background in BACKGROUNDS} <= tokens
    assert max(len(example.scene.things) for example in examples) == MAX_OBJECTS
    assert {example.terse for example in examples} == {True, False}


def test_held_out_frames_are_never_trained_on() -> None:
    assert not set(HELD_OUT_TERSE_FRAMES) & set(TERSE_FRAMES)
    assert not set(HELD_OUT_DENSE_FRAMES) & set(DENSE_FRAMES)
    starts = [frame.split("{}")[0] for frame in (*HELD_OUT_TERSE_FRAMES, *HELD_OUT_DENSE_FRAMES) if frame[0] != "{"]
    rng = Random(4)
    captions = [random_example(rng).caption.text for _ in range(1500)]
    assert not [caption for caption in captions for start in starts if caption.startswith(start)]
    terse = terse_caption(CHAIN, rng, HELD_OUT_TERSE_FRAMES).text
    assert any(re.fullmatch(re.escape(frame).replace(r"\{\}", ".+"), terse) for frame in HELD_OUT_TERSE_FRAMES)


def test_frames_name_nothing_that_can_be_drawn() -> None:
    frames = (*TERSE_FRAMES, *DENSE_FRAMES, *HELD_OUT_TERSE_FRAMES, *HELD_OUT_DENSE_FRAMES)
    words = {token.token for frame in frames for token in tokenize(frame)}
    assert not words & {*OBJECTS, *COLORS, *TEXTURES}


def test_the_same_seed_gives_the_same_examples() -> None:
    assert [random_example(Random(5)) for _ in range(3)] == [random_example(Random(5)) for _ in range(3)]


# Composition


@pytest.mark.parametrize("relation", RELATIONS)
def test_compositions_meet_every_relation_without_overlaps(relation: str) -> None:
    rng = Random(6)
    spec = SceneSpec((Group("dog", 4), Group("cat", 3)), (Relation(0, relation, 1),))
    composition = compose(spec, rng)
    assert composition is not None
    assert holds(spec, list(composition))
    things = composition.scene("plain").things
    assert len(things) == 7
    assert not any(overlaps(one, other) for i, one in enumerate(things) for other in things[:i])
    assert all(thing.size / 2 <= min(thing.x, thing.y, 1 - thing.x, 1 - thing.y) for thing in things)


def test_contradicting_relations_have_no_composition() -> None:
    spec = SceneSpec((Group("dog"), Group("cat")), (Relation(0, "left of", 1), Relation(0, "right of", 1)))
    assert compose(spec, Random(0)) is None
    assert "exactly one dog" in dense_prompt(spec, 0).lower()


# Tokens


def test_names_synonyms_and_plurals_share_a_token() -> None:
    tokens = tokenize("Two wine glasses, a goblet, 3 sheeps to the left of a frobnicator")
    assert [token.token for token in tokens] == [
        "two", "wine glass", "a", "wine glass", "three", "sheep", "~left of", "a", "<unk>",
    ]  # fmt: skip
    assert [token.plural for token in tokens][:6] == [False, True, False, False, False, True]


@pytest.mark.parametrize(
    ("text", "letters"),
    [
        ('a sign that says "OPEN 24"', ["#O", "#P", "#E", "#N", "# ", "#2", "#4"]),
        ("a sign reading “Hi!”", ["#H", "#I"]),
        ("a dog's bowl and a sign 'GO'", ["#G", "#O"]),
        ("a sign with the letters A, space, B, 7 on it", ["#A", "# ", "#B", "#7"]),
        ("a cat on a mat", []),
    ],
)
def test_letters_of_quoted_text(text: str, letters: list[str]) -> None:
    found = [token for token in tokenize(text) if token.letter]
    assert [token.token for token in found] == letters
    assert [token.letter for token in found] == list(range(1, len(letters) + 1))


# Layouts


def test_scenes_survive_encoding() -> None:
    rng = Random(7)
    scenes = [random_example(rng).scene for _ in range(200)]
    codes = layout.make_codes()
    encoded = layout.encode(scenes)
    denoiser = SketchDenoiser(width=32, layers=1, heads=2, text_width=32)
    decoded = layout.decode(denoiser.read_latents(layout.to_latents(encoded, codes)))
    for scene, back in zip(scenes, decoded, strict=True):
        assert back.background == scene.background
        assert len(back.things) == len(scene.things)
        for thing, again in zip(scene.things, back.things, strict=True):
            assert (again.name, again.color, again.texture, again.text) == (
                thing.name, thing.color, thing.texture, thing.text,
            )  # fmt: skip
            assert (again.x, again.y, again.size) == pytest.approx((thing.x, thing.y, thing.size), abs=0.02)


def test_decoding_clamps_and_separates() -> None:
    piled = Scene(tuple(Thing("dog", 0.99, 0.5, 0.2, "brown") for _ in range(3)))
    things = layout.decode(layout.encode([piled]))[0].things
    assert all(thing.x + thing.size / 2 <= 1 for thing in things)
    assert not any(overlaps(one, other) for i, one in enumerate(things) for other in things[:i])


def test_too_many_things_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 20"):
        layout.encode([Scene(tuple(Thing("dog", 0.5, 0.5, 0.1, "brown") for _ in range(21)))])


# Pipeline


def test_seeds_hold(pipeline: SketchPipeline) -> None:
    assert draw(pipeline, "two red dogs", 1) == draw(pipeline, "two red dogs", 1)
    assert draw(pipeline, "two red dogs", 1) != draw(pipeline, "two red dogs", 2)


def test_a_picture_does_not_depend_on_its_batch(pipeline: SketchPipeline) -> None:
    prompts = ["two red dogs", 'a sign that says "HELLO" near three cats and a very long list of other things', "a cow"]
    together = pipeline(
        prompts, generator=[seeded(i) for i in range(3)], num_inference_steps=3, output_type="layout"
    ).scenes
    assert together == [draw(pipeline, prompt, i) for i, prompt in enumerate(prompts)]


def test_padding_has_no_influence(pipeline: SketchPipeline) -> None:
    tokenizer = SketchTokenizer()
    short, long = tokenizer("two red dogs"), tokenizer("a " * 40)
    with torch.no_grad():
        alone = pipeline.text_encoder(pad([short]))
        padded = pipeline.text_encoder(pad([short, long]))
    length = len(short.ids)
    torch.testing.assert_close(alone.states[0], padded.states[0, :length], atol=1e-5, rtol=1e-4)


def test_callback_sees_every_step_and_may_replace_latents(pipeline: SketchPipeline) -> None:
    seen: list[int] = []

    def empty_the_scene(
        owner: SketchPipeline, step: int, timestep: torch.Tensor, tensors: dict[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        assert owner is pipeline
        seen.append(step)
        return {"latents": torch.full_like(tensors["latents"], -1.0)}

    scenes = pipeline(
        ["a dog", "a cat"], generator=seeded(0), num_inference_steps=3, callback_on_step_end=empty_the_scene,
        output_type="layout",
    ).scenes  # fmt: skip
    assert seen == list(range(6))
    assert [scene.things for scene in scenes] == [(), ()]


def test_guidance_changes_the_layout(pipeline: SketchPipeline) -> None:
    assert draw(pipeline, "two red dogs", 1, guidance_scale=1.0) != draw(
        pipeline, "two red dogs", 1, guidance_scale=6.0
    )


def test_wrong_calls_are_refused(pipeline: SketchPipeline) -> None:
    with pytest.raises(ValueError, match="prompt is empty"):
        pipeline([])
    with pytest.raises(ValueError, match="'jpeg'"):
        pipeline("a dog", output_type="jpeg")
    with pytest.raises(ValueError, match="1 generators for 2 prompts"):
        pipeline(["a dog", "a cat"], generator=[seeded(0)])


def test_weights_come_back_as_saved(pipeline: SketchPipeline, tmp_path: Path) -> None:
    pipeline.save_pretrained(tmp_path / "weights")
    loaded = SketchPipeline.from_pretrained(tmp_path / "weights", low_cpu_mem_usage=False)
    loaded.set_progress_bar_config(disable=True)
    assert draw(loaded, "two red dogs", 1) == draw(pipeline, "two red dogs", 1)


# The released weights

WEIGHTS = Path(layout.__file__).parent / "weights"


@pytest.fixture(scope="module")
def released() -> SketchPipeline:
    loaded = SketchPipeline.from_pretrained(WEIGHTS, low_cpu_mem_usage=False)
    loaded.set_progress_bar_config(disable=True)
    return loaded


def test_released_weights_are_small_and_speak_this_vocabulary(released: SketchPipeline) -> None:
    assert sum(path.stat().st_size for path in WEIGHTS.rglob("*") if path.is_file()) <= 5_000_000
    assert list(released.text_encoder.config.tokens) == list(TOKENS)
    codes = layout.make_codes()
    for stored, made in zip(released.denoiser.codes, codes, strict=True):
        torch.testing.assert_close(stored, made, atol=2e-3, rtol=2e-3)


def test_released_weights_follow_explicit_prompts(released: SketchPipeline) -> None:
    rng = Random(10)
    specs = [geneval_spec(tag, rng) for tag in GENEVAL_TAGS for _ in range(4)]
    cases = [Case(dense_prompt(spec, style), spec) for style, spec in enumerate(specs)]
    assert rate(released, cases, GUIDANCE_SCALE) >= 0.85


def test_released_weights_need_no_known_filler_words(released: SketchPipeline) -> None:
    specs = [
        SceneSpec((Group(name, 1, color),)) for name, color in (("dog", "red"), ("cake", "blue"), ("bus", "green"))
    ]
    cases = [Case(f"kindly whip up {terse_prompt(spec)} for grandma", spec) for spec in specs for _ in range(8)]
    assert rate(released, cases, GUIDANCE_SCALE) >= 0.6


# Training and measuring


def test_training_learns_resumes_and_saves_small_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "weights"
    out.mkdir()
    (out / "README.md").write_text("card")
    first = Training(tmp_path / "state", Budget(1, None), 0, torch.device("cpu"), batch=4)
    first.run(out)
    second = Training(tmp_path / "state", Budget(2, None), 0, torch.device("cpu"), batch=4)
    for kept, again in zip(first.models.parameters(), second.models.parameters(), strict=True):
        assert torch.equal(kept, again)
    second.run(out)
    assert (out / "README.md").read_text() == "card"
    assert sum(path.stat().st_size for path in out.rglob("*") if path.is_file()) < 5_000_000
    assert len(list(out.rglob("*.safetensors"))) == 2


def test_collated_marks_fall_on_their_tokens() -> None:
    rng = Random(8)
    examples = [random_example(rng) for _ in range(64)]
    batch = collate(examples, SketchTokenizer(), Random(0))
    announced = batch.announced.sum(dim=1)
    for row, example in enumerate(examples):
        assert announced[row] in (0, sum(mark.number for mark in example.caption.marks))
    assert 0 < (announced == 0).sum() < 20


@pytest.mark.parametrize(
    ("spec", "atoms"),
    [
        (SceneSpec((Group("backpack", 1, "green"), Group("pig"))), 3),
        (SceneSpec((Group("toy", 2, texture="metal"),)), 3),
        (CHAIN, 9),
    ],
)
def test_atoms_are_counted_as_in_geneval2(spec: SceneSpec, atoms: int) -> None:
    assert atom_count(spec) == atoms


def test_right_means_counts_attributes_and_relations() -> None:
    rng = Random(9)
    specs = [geneval_spec(tag, rng) for tag in GENEVAL_TAGS] + [geneval2_spec(atoms, rng) for atoms in (4, 6, 8)]
    for spec in specs:
        composition = compose(spec, rng)
        assert composition is not None
        scene = composition.scene("plain")
        assert is_right(scene, spec)
        assert not is_right(Scene(scene.things[1:]), spec)
        assert not is_right(Scene((*scene.things, scene.things[0])), spec)


def test_untrained_weights_are_rarely_right(pipeline: SketchPipeline) -> None:
    cases = [Case(dense_prompt(CHAIN, style), CHAIN) for style in range(4)]
    assert rate(pipeline, cases, 1.5, steps=2) == 0.0


def test_place_of_is_in_fifths() -> None:
    assert place_of([Thing("dog", 0.05, 0.95, 0.1, "brown")]) == (0, 4)
    assert place_of([Thing("dog", 0.4, 0.5, 0.1, "brown"), Thing("dog", 0.6, 0.5, 0.1, "brown")]) == (2, 2)
