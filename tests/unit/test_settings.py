"""Settings: environment over `.env` over `gems.toml` over the built-in profiles."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gems.backends.services import make_models
from gems.core.context import Size
from gems.core.errors import GemsConfigError
from gems.core.profiles import PAID_CAPS, Price
from gems.core.settings import load_settings
from gems.core.state import Role


def test_the_environment_wins_over_env_file_over_toml(tmp_path: Path) -> None:
    (tmp_path / "gems.toml").write_text(
        'profile = "mine"\nhome = "toml"\n[profiles.mine]\nmllm = "sketch"\nimages = "sketch"\n'
    )
    (tmp_path / ".env").write_text("GEMS_HOME=dotenv\nUNRELATED=1\n")
    assert load_settings(tmp_path, {}).profile == "mine"
    assert load_settings(tmp_path, {}).home.name == "dotenv"
    settings = load_settings(tmp_path, {"GEMS_HOME": "/env/home", "GEMS_PROFILE": "sketch"})
    assert (settings.profile, settings.home.name) == ("sketch", "home")


def test_mllm_and_images_lie_over_any_profile(tmp_path: Path) -> None:
    env = {
        "GEMS_MLLM": "openai:qwen",
        "GEMS_MLLM_BASE_URL": "http://localhost:1/v1",
        "GEMS_IMAGES": "openai:z-image",
        "GEMS_IMAGES_API_KEY": "sk-secret",
    }
    settings = load_settings(tmp_path, env)
    profile = settings.resolve()
    mllm, images = settings.chat(profile), settings.images(profile)
    assert (mllm.provider, mllm.model, mllm.base_url, mllm.api_key) == ("openai", "qwen", "http://localhost:1/v1", None)
    assert images.api_key is not None
    assert "sk-secret" not in repr(settings) + repr(images) + settings.model_dump_json()
    assert profile.name == "environment"
    assert make_models(settings, "environment").images.name == "openai:z-image"
    assert make_models(settings, "sketch").images.name == "sketch", "what is named outright wins over the environment"


def test_openais_key_goes_to_openai_alone(tmp_path: Path) -> None:
    env = {"OPENAI_API_KEY": "sk-real", "GEMS_MLLM": "openai:m", "GEMS_IMAGES": "openai:i"}
    elsewhere = {**env, "GEMS_MLLM_BASE_URL": "http://third.party/v1"}
    settings = load_settings(tmp_path, elsewhere)
    assert settings.chat(settings.resolve()).api_key is None
    assert settings.images(settings.resolve()).api_key is not None
    (tmp_path / "gems.toml").write_text(
        '[profiles.x]\nmllm = "openai:m"\nimages = "openai:i"\napi_key_env = "MY_KEY"\n'
    )
    settings = load_settings(tmp_path, {**elsewhere, "MY_KEY": "sk-mine"})
    key = settings.chat(settings.resolve("x")).api_key
    assert key is not None
    assert key.get_secret_value() == "sk-mine"


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ("profile = ", "gems.toml"),
        ('colour = "red"', "colour"),
        ('[profiles.x]\nmllm = "sketch"', "images"),
        ('[profiles.x]\nmllm = "sketch"\nimages = "sketch"\nmax_rounds = 0', "max_rounds 0"),
        ('[profiles.x]\nmllm = "sketch"\nimages = "sketch"\nkey = "sk-secret"', "key"),
        ('[profiles.x]\nmllm = "sketch"\nkey = "sk-secret"', "images"),
    ],
)
def test_a_bad_file_is_named_with_its_place(tmp_path: Path, toml: str, words: str) -> None:
    (tmp_path / "gems.toml").write_text(toml)
    with pytest.raises(GemsConfigError, match=words) as caught:
        load_settings(tmp_path, {})
    assert "sk-secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"GEMS_PROFILE": "nope"}, "unknown profile 'nope'; there are: openai, paper, sketch"),
        ({"GEMS_MLLM": "magic:8ball"}, "unknown mllm provider 'magic'"),
        ({"GEMS_IMAGES": "magic"}, "unknown images provider 'magic'"),
        ({"GEMS_MLLM": "openai:gpt-5-mini"}, "needs a key: set OPENAI_API_KEY"),
        ({"GEMS_IMAGES": "openai"}, "names no image model"),
        ({"GEMS_REPLAY": "nowhere"}, "no readable tape"),
    ],
)
def test_unknown_names_and_missing_keys_are_told(tmp_path: Path, env: dict[str, str], words: str) -> None:
    settings = load_settings(tmp_path, env)
    with pytest.raises(GemsConfigError, match=words):
        make_models(settings, settings.resolve().name)


@pytest.mark.parametrize("text", ["", "big", "1024", "1024x", "x1024", "63x64", "64x4097", "-64x64", "1e3x64"])
def test_a_size_is_two_numbers_in_range(text: str) -> None:
    with pytest.raises(GemsConfigError, match="size"):
        Size.parse(text)
    assert Size.parse("64X4096") == (64, 4096)


def toml(folder: Path, text: str) -> Path:
    (folder / "gems.toml").write_text(text, encoding="utf-8")
    return folder


ROLES_TOML = """
profile = "mine"
[profiles.mine]
mllm = "openai:big"
mllm_base_url = "http://box/v1"
mllm_api_key_env = "BOX_KEY"
images = "reference:z-image-turbo"
images_base_url = "http://draws:8000"
chat = { concurrency = 2 }
[profiles.mine.roles]
critic = "openai:eye"
refiner = { model = "openai:gpt-5", base_url = "https://api.openai.com/v1", api_key_env = "MY_OPENAI" }
planner = { model = "openai:open", base_url = "http://other/v1", chat = { seconds = 5 } }
[prices."openai:eye"]
input = 1.5
"""


def test_a_role_may_have_a_model_a_server_and_a_key_of_its_own(tmp_path: Path) -> None:
    keys = {"BOX_KEY": "box-secret", "MY_OPENAI": "sk-mine", "OPENAI_API_KEY": "sk-everyones"}
    settings = load_settings(toml(tmp_path, ROLES_TOML), keys)
    profile = settings.resolve()

    def at(role: Role) -> tuple[str, str | None, str | None]:
        endpoint = settings.chat(profile, role)
        return endpoint.name, endpoint.base_url, endpoint.api_key.get_secret_value() if endpoint.api_key else None

    assert at("decomposer") == ("openai:big", "http://box/v1", "box-secret")
    assert at("critic") == ("openai:eye", "http://box/v1", "box-secret")
    assert at("refiner") == ("openai:gpt-5", "https://api.openai.com/v1", "sk-mine")
    assert at("planner") == ("openai:open", "http://other/v1", None)
    assert settings.chat(profile, "planner").chat.seconds == 5
    assert settings.chat(profile, "critic").chat.concurrency == 2
    assert settings.chat(profile, "critic").price == Price(input=1.5)
    assert settings.images(profile).api_key is None
    assert "secret" not in repr(settings) + str(settings.chat(profile)) + settings.chat(profile).model_dump_json()


def test_what_costs_money_has_limits_unless_it_names_its_own(tmp_path: Path) -> None:
    text = '[profiles.paid]\nmllm = "openai:m"\nimages = "openai:i"\nmax_images = 40\n'
    settings = load_settings(toml(tmp_path, text), {"OPENAI_API_KEY": "sk-x"})
    paid, free = settings.resolve("paid"), settings.resolve("sketch")
    assert (paid.max_images, paid.max_calls) == (40, PAID_CAPS["max_calls"])
    assert (free.max_images, free.max_calls) == (None, None)
    own = load_settings(tmp_path, {"GEMS_MLLM": "openai:m", "GEMS_MLLM_BASE_URL": "http://localhost:1/v1"})
    assert own.resolve().max_calls is None
    keyed = load_settings(tmp_path, {"GEMS_MLLM": "openai:m", "GEMS_MLLM_API_KEY": "k"})
    assert keyed.resolve().max_calls == PAID_CAPS["max_calls"]


@pytest.mark.parametrize(
    "url", ["localhost:8000", "ftp://box/v1", "http://", "http://me:pw@box/v1", "https://box/v1?key=sk-secret"]
)
def test_a_base_url_is_an_address_and_carries_no_key(tmp_path: Path, url: str) -> None:
    with pytest.raises(GemsConfigError, match="base URL") as caught:
        load_settings(tmp_path, {"GEMS_IMAGES_BASE_URL": url})
    assert "GEMS_IMAGES_BASE_URL" in str(caught.value)
    text = f'[profiles.mine]\nmllm = "sketch"\nimages = "sketch"\nimages_base_url = "{url}"\n'
    with pytest.raises(GemsConfigError, match="images_base_url") as caught:
        load_settings(toml(tmp_path, text), {})
    role = f'[profiles.mine]\nmllm = "sketch"\nimages = "sketch"\nroles = {{ critic = {{ model = "a:b", base_url = "{url}" }} }}\n'
    with pytest.raises(GemsConfigError, match="base_url"):
        load_settings(toml(tmp_path, role), {})


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("chat = { concurrency = 0 }", "chat.concurrency 0: "),
        ("drawing = { server = 'magic' }", "drawing.server 'magic'"),
        ("roles = { painter = 'openai:m' }", "roles.painter"),
        ("critic = { mode = 'twice' }", "critic.mode 'twice'"),
        ("max_cost = -1", "max_cost -1"),
    ],
)
def test_nonsense_is_named(tmp_path: Path, line: str, complaint: str) -> None:
    text = f'[profiles.mine]\nmllm = "sketch"\nimages = "sketch"\n{line}\n'
    with pytest.raises(GemsConfigError, match=re.escape(complaint)):
        load_settings(toml(tmp_path, text), {})
