"""`gems serve` before it listens: what is served, where, for whom, and what is said when that cannot be."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from gems.app.serve.access import Access, access_for, read_tokens
from gems.app.serve.listening import address_of
from gems.app.serve.served import ServedModel, describe_sizes, public_name, serve_model
from gems.app.serve_command import Chosen, ServeOptions, check_packages, choose, ready_line, served_models
from gems.backends.images.presets import Dimensions, SizeRule
from gems.backends.local.pipelines import facts_of
from gems.core.errors import GemsConfigError
from gems.core.profiles import DrawingOptions, Endpoint, LocalOptions, Profile
from gems.core.settings import Settings

TOKEN = "t" * 20


def served(source: str, **drawing: Any) -> ServedModel:
    endpoint = Endpoint(provider="diffusers", model=source, drawing=DrawingOptions(**drawing))
    return serve_model(endpoint, facts_of("StableDiffusionPipeline"))


# Which models.


def test_models_are_named_with_or_without_the_provider(settings: Settings) -> None:
    found = choose(ServeOptions(models=("diffusers:me/a", "./b")), settings)
    assert [chosen.endpoint.model for chosen in found] == ["me/a", "./b"]
    assert {chosen.endpoint.provider for chosen in found} == {"diffusers"}


def test_a_profile_brings_its_settings_and_size(settings: Settings) -> None:
    own = Profile(
        mllm="sketch",
        images="diffusers:me/a",
        size="64x128",
        drawing=DrawingOptions(steps=3),
        local=LocalOptions(batch=2),
    )
    settings = settings.model_copy(update={"profiles": {"own": own}})
    (chosen,) = choose(ServeOptions(profile="own"), settings)
    assert (chosen.endpoint.model, chosen.size) == ("me/a", "64x128")
    assert (chosen.endpoint.drawing.steps, chosen.endpoint.local.batch) == (3, 2)


def test_weights_are_kept_unless_a_profile_says_for_how_long(settings: Settings) -> None:
    def idle(**local: Any) -> float:
        own = Profile(mllm="sketch", images="diffusers:me/a", local=LocalOptions(**local))
        (chosen,) = choose(ServeOptions(), settings.model_copy(update={"profiles": {"sketch": own}}))
        return chosen.endpoint.local.idle_seconds

    assert idle() > 1e8
    assert idle(idle_seconds=5.0) == 5.0


def test_what_cannot_be_served_is_told_with_a_way_out(settings: Settings) -> None:
    with pytest.raises(GemsConfigError, match="exclude each other"):
        choose(ServeOptions(models=("a/b",), profile="sd-turbo"), settings)
    with pytest.raises(GemsConfigError, match=r"'sketch' draws with 'sketch'.*gems serve --profile"):
        choose(ServeOptions(), settings)
    with pytest.raises(GemsConfigError, match="unknown profile 'nope'"):
        choose(ServeOptions(profile="nope"), settings)


def test_weights_that_are_not_here_are_told_before_anything_listens(tmp_path: Path) -> None:
    with pytest.raises(GemsConfigError):
        served_models([Chosen(Endpoint(provider="diffusers", model="./nowhere", folder=tmp_path))])


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("stabilityai/sd-turbo", "stabilityai/sd-turbo"),
        ("/home/ann/models/sd-turbo", "sd-turbo"),
        ("./models/sd-turbo/", "sd-turbo"),
        ("~/secret/z-image.safetensors", "z-image"),
        ("weights/flux.1-dev.gguf", "weights/flux.1-dev"),
        ("C:\\models\\x", "C:\\models\\x"),
    ],
)
def test_paths_stay_at_home(source: str, name: str) -> None:
    assert public_name(source) == name


def test_a_model_answers_to_its_name_with_and_without_the_owner() -> None:
    model = served("stabilityai/SD-Turbo")
    assert all(model.is_called(name) for name in ("stabilityai/sd-turbo", "sd-turbo", "SD-TURBO"))
    assert not model.is_called("turbo")


def test_a_model_whose_edits_are_switched_off_takes_no_pictures() -> None:
    assert served("stabilityai/sd-turbo").inputs == 1
    assert served("stabilityai/sd-turbo", edit=False).inputs == 0


@pytest.mark.parametrize(
    ("picture", "size"),
    [((512, 512), (512, 512)), ((1000, 500), (728, 360)), ((3, 2), (624, 416)), ((8000, 10), (512, 512))],
)
def test_an_edit_that_names_no_size_keeps_the_pictures_shape(picture: tuple[int, int], size: tuple[int, int]) -> None:
    assert served("stabilityai/sd-turbo").size_for(Dimensions(*picture)) == size


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (SizeRule(multiple=16), "both sides are multiples of 16 from 64 to 4096"),
        (SizeRule(), "both sides are 64 to 4096"),
        (SizeRule(only=(Dimensions(64, 96),)), "it draws 64x96"),
        (
            SizeRule(multiple=16, max_side=3840, min_pixels=655_360, max_pixels=8_294_400),
            "both sides are multiples of 16 from 64 to 3840, with 655360 pixels or more, with 8294400 pixels or fewer",
        ),
    ],
)
def test_sizes_are_told_in_words(rule: SizeRule, words: str) -> None:
    assert describe_sizes(rule) == words


# Where, and for whom.


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.8.0.1"])
def test_this_machine_needs_no_token(host: str) -> None:
    assert access_for(host, (), anyone=False) == Access((), own_names_only=True)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.7", "::", "box.local", ""])
def test_other_machines_need_a_token_or_open(host: str) -> None:
    with pytest.raises(GemsConfigError, match=r"GEMS_SERVE_TOKENS.*--open"):
        access_for(host, (), anyone=False)
    assert access_for(host, (), anyone=True) == Access((), own_names_only=False)
    tokens = (SecretStr(TOKEN),)
    assert access_for(host, tokens, anyone=False) == Access(tokens, own_names_only=False)


def test_tokens_are_read_and_checked() -> None:
    assert read_tokens({}) == ()
    two = read_tokens({"GEMS_SERVE_TOKENS": f" {TOKEN} ,{TOKEN}2,"})
    assert [token.get_secret_value() for token in two] == [TOKEN, f"{TOKEN}2"]


@pytest.mark.parametrize("token", ["short", f"{TOKEN} x", f"{TOKEN}ü"])
def test_a_token_that_cannot_be_one_is_refused_and_not_repeated(token: str) -> None:
    with pytest.raises(GemsConfigError) as caught:
        read_tokens({"GEMS_SERVE_TOKENS": token})
    assert token not in str(caught.value)


class _Socket:
    def getsockname(self) -> tuple[str, int]:
        return ("x", 8123)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8123"),
        ("0.0.0.0", "http://127.0.0.1:8123"),
        ("::1", "http://[::1]:8123"),
        ("::", "http://[::1]:8123"),
        ("box.local", "http://box.local:8123"),
    ],
)
def test_the_address_is_one_that_can_be_asked(host: str, url: str) -> None:
    assert address_of(host, [_Socket()]) == url  # type: ignore[list-item]


def test_the_ready_line_shows_how_to_point_a_profile_at_it() -> None:
    line = ready_line([served("stabilityai/sd-turbo")], ["cuda:0", "cuda:1"], "http://127.0.0.1:8000", has_tokens=False)
    assert "\n" not in line
    assert line == (
        "Ready: stabilityai/sd-turbo on cuda:0, cuda:1 at http://127.0.0.1:8000; in a profile of gems.toml: "
        'images = "openai:stabilityai/sd-turbo", images_base_url = "http://127.0.0.1:8000/v1", '
        'drawing = { server = "gems", edit = true }'
    )
    assert "images_api_key_env" in ready_line([served("a/b")], ["cpu"], "http://x:1", has_tokens=True)


def test_a_missing_package_is_told_with_the_command() -> None:
    def find(module: str) -> object:
        return None if module == "python_multipart" else importlib.util.find_spec(module)

    with pytest.raises(GemsConfigError, match="needs python-multipart: pip install python-multipart"):
        check_packages(find)
