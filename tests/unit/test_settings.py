"""Settings: environment over `.env` over `gems.toml` over the built-in profiles."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from gems.backends.chat.book import ServerBook
from gems.backends.services import make_chats, make_models
from gems.core.context import Size
from gems.core.errors import GemsConfigError
from gems.core.messages import compose
from gems.core.ports import ChatRole
from gems.core.profiles import PAID_CAPS, ChatOptions, Endpoint, Price
from gems.core.replies import RoundNote
from gems.core.settings import load_settings
from gems.core.state import ROLES, Role


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


EVERY_KEY = {
    "OPENAI_API_KEY": "sk-openai",
    "GEMS_MLLM_API_KEY": "sk-gems",
    "BOTH": "sk-both",
    "PART": "sk-part",
    "ROLE": "sk-role",
}
ENV = "http://environment/v1"
BOX = "http://box/v1"
OWN = "http://own/v1"


def columns(table: str) -> list[tuple[str, ...]]:
    return [tuple(cell.strip() for cell in line.split("|")) for line in table.strip().splitlines()]


@pytest.mark.parametrize(
    ("environment_url", "profile_url", "named", "role", "keys", "goes_to", "with_key"),
    # "-" is none. `named`: what the profile names. `role`: what the critic has of its own. `keys`: which are set.
    columns("""
    -   | -   | -         | -        | OPENAI           | -   | OPENAI_API_KEY
    -   | -   | -         | -        | OPENAI GEMS      | -   | GEMS_MLLM_API_KEY
    -   | -   | BOTH      | -        | OPENAI BOTH      | -   | BOTH
    -   | -   | BOTH      | -        | OPENAI           | -   | none, set BOTH
    -   | -   | BOTH      | -        | OPENAI BOTH GEMS | -   | GEMS_MLLM_API_KEY
    -   | -   | BOTH PART | -        | all              | -   | GEMS_MLLM_API_KEY
    -   | -   | BOTH PART | -        | BOTH PART        | -   | PART
    -   | -   | -         | -        | PART             | -   | none, set OPENAI_API_KEY
    -   | BOX | -         | -        | OPENAI           | BOX | none, set GEMS_MLLM_API_KEY
    -   | BOX | -         | -        | OPENAI GEMS      | BOX | GEMS_MLLM_API_KEY
    -   | BOX | BOTH      | -        | OPENAI BOTH      | BOX | BOTH
    -   | BOX | BOTH PART | -        | OPENAI BOTH PART | BOX | PART
    -   | BOX | BOTH      | -        | OPENAI           | BOX | none, set BOTH
    ENV | -   | -         | -        | OPENAI           | ENV | none, set GEMS_MLLM_API_KEY
    ENV | -   | BOTH PART | -        | OPENAI BOTH PART | ENV | none, set GEMS_MLLM_API_KEY
    ENV | BOX | BOTH PART | -        | all              | ENV | GEMS_MLLM_API_KEY
    -   | -   | -         | model    | OPENAI           | -   | OPENAI_API_KEY
    -   | BOX | PART      | model    | OPENAI PART ROLE | BOX | PART
    ENV | BOX | PART      | model    | OPENAI PART ROLE | ENV | none, set GEMS_MLLM_API_KEY
    -   | BOX | PART      | key      | all              | BOX | ROLE
    -   | BOX | PART      | key      | OPENAI GEMS PART | BOX | none, set ROLE
    -   | -   | PART      | key      | all              | -   | ROLE
    ENV | BOX | PART      | key      | OPENAI PART ROLE | ENV | none, set GEMS_MLLM_API_KEY
    ENV | BOX | PART      | key      | all              | ENV | GEMS_MLLM_API_KEY
    -   | BOX | BOTH PART | url      | all              | OWN | none, set api_key_env of the role
    ENV | BOX | BOTH PART | url      | all              | OWN | none, set api_key_env of the role
    ENV | BOX | BOTH PART | url key  | all              | OWN | ROLE
    -   | -   | -         | url key  | OPENAI GEMS      | OWN | none, set ROLE
    """),
)
def test_which_key_goes_where(
    tmp_path: Path,
    environment_url: str,
    profile_url: str,
    named: str,
    role: str,
    keys: str,
    goes_to: str,
    with_key: str,
) -> None:
    lines = ["[profiles.x]", 'mllm = "openai:m"', 'images = "sketch"']
    lines += [f'mllm_base_url = "{BOX}"'] if profile_url == "BOX" else []
    lines += ['api_key_env = "BOTH"'] if "BOTH" in named else []
    lines += ['mllm_api_key_env = "PART"'] if "PART" in named else []
    lines += ["[profiles.x.roles.critic]", 'model = "openai:eye"'] if role != "-" else []
    lines += [f'base_url = "{OWN}"'] if "url" in role else []
    lines += ['api_key_env = "ROLE"'] if "key" in role else []
    short = {"OPENAI": "OPENAI_API_KEY", "GEMS": "GEMS_MLLM_API_KEY"}
    env = EVERY_KEY if keys == "all" else {name: EVERY_KEY[name] for name in (short.get(it, it) for it in keys.split())}
    env = env | ({"GEMS_MLLM_BASE_URL": ENV} if environment_url == "ENV" else {})
    settings = load_settings(toml(tmp_path, "\n".join(lines)), env)
    endpoint = settings.chat(settings.resolve("x"), "critic")
    assert endpoint.base_url == {"-": None, "ENV": ENV, "BOX": BOX, "OWN": OWN}[goes_to]
    sent = endpoint.api_key.get_secret_value() if endpoint.api_key else None
    assert sent == EVERY_KEY.get(with_key)
    assert endpoint.key_name == with_key.removeprefix("none, set "), "what messages name"


def test_the_key_of_the_drawing_server_goes_the_same_way(tmp_path: Path) -> None:
    text = '[profiles.x]\nmllm = "sketch"\nimages = "openai:i"\nimages_api_key_env = "PART"\napi_key_env = "BOTH"\n'
    folder = toml(tmp_path, text)

    def drawn_with(env: dict[str, str], name: str = "x") -> tuple[str, str | None]:
        settings = load_settings(folder, env)
        endpoint = settings.images(settings.resolve(name))
        return endpoint.key_name, endpoint.api_key.get_secret_value() if endpoint.api_key else None

    assert drawn_with(EVERY_KEY) == ("PART", "sk-part")
    assert drawn_with(EVERY_KEY | {"GEMS_IMAGES_API_KEY": "sk-own"}) == ("GEMS_IMAGES_API_KEY", "sk-own")
    assert drawn_with(EVERY_KEY | {"GEMS_IMAGES_BASE_URL": ENV}) == ("GEMS_IMAGES_API_KEY", None)
    assert drawn_with(EVERY_KEY | {"GEMS_IMAGES_BASE_URL": ENV}, "openai") == ("GEMS_IMAGES_API_KEY", None)
    assert drawn_with(EVERY_KEY, "openai") == ("OPENAI_API_KEY", "sk-openai")


@pytest.mark.parametrize("model", ["sketch", "comfyui:flow.json", "reference:z"])
def test_what_has_no_server_elsewhere_gets_no_key(tmp_path: Path, model: str) -> None:
    text = f'[profiles.x]\nmllm = "openai:m"\nimages = "{model}"\napi_key_env = "BOTH"\n'
    settings = load_settings(toml(tmp_path, text), EVERY_KEY | {"GEMS_IMAGES_API_KEY": "sk-own"})
    endpoint = settings.images(settings.resolve("x"))
    assert (endpoint.api_key, endpoint.base_url, endpoint.is_paid) == (None, None, False)


ROUTER = """
[profiles.router]
mllm = "openai:big"
mllm_base_url = "https://router.example/v1"
images = "openai:pictures"
images_base_url = "https://draws.example/v1"
api_key_env = "BOTH"
chat = { concurrency = 2, extra_body = { route = "cheap" } }
drawing = { seconds = 9, server = "sglang", extra_body = { token = "hush" } }
roles = { critic = "openai:eye" }
"""


def test_a_model_of_the_environment_takes_nothing_of_another_models_server(tmp_path: Path) -> None:
    env = EVERY_KEY | {"GEMS_PROFILE": "router", "GEMS_MLLM": "openai:gpt-5-mini"}
    del env["GEMS_MLLM_API_KEY"]
    settings = load_settings(toml(tmp_path, ROUTER), env)
    profile = settings.resolve()
    for role in ROLES:
        answers = settings.chat(profile, role)
        assert (answers.name, answers.base_url, answers.key_name) == ("openai:gpt-5-mini", None, "OPENAI_API_KEY")
        assert (answers.chat.concurrency, answers.chat.extra_body) == (2, {})
    draws = settings.images(profile)
    assert (draws.name, draws.base_url, draws.key_name) == ("openai:pictures", "https://draws.example/v1", "BOTH")
    assert draws.drawing.extra_body == {"token": "hush"}

    settings = load_settings(tmp_path, EVERY_KEY | {"GEMS_PROFILE": "router", "GEMS_IMAGES": "openai:gpt-image-1-mini"})
    profile = settings.resolve()
    draws, sees = settings.images(profile), settings.chat(profile, "critic")
    assert (draws.name, draws.base_url, draws.key_name) == ("openai:gpt-image-1-mini", None, "OPENAI_API_KEY")
    assert (draws.drawing.server, draws.drawing.extra_body, draws.drawing.seconds) == ("auto", {}, 9)
    assert (sees.name, sees.base_url) == ("openai:eye", "https://router.example/v1")

    sketched = load_settings(tmp_path, {"GEMS_PROFILE": "router", "GEMS_MLLM": "sketch"})
    assert {sketched.chat(sketched.resolve(), role).name for role in ROLES} == {"sketch"}
    same = load_settings(tmp_path, EVERY_KEY | {"GEMS_PROFILE": "router", "GEMS_MLLM": "openai:big"})
    assert same.chat(same.resolve(), "critic").base_url == "https://router.example/v1", "the profile's own model"


def test_a_drawing_model_of_the_environment_does_not_go_to_the_papers_server(tmp_path: Path) -> None:
    settings = load_settings(tmp_path, {"GEMS_PROFILE": "paper", "GEMS_IMAGES": "openai:gpt-image-1-mini"})
    assert settings.images(settings.resolve()).base_url is None


def test_no_profile_takes_the_name_of_the_environments(tmp_path: Path) -> None:
    with pytest.raises(GemsConfigError, match=r"setting profiles: .*'environment'.*choose another name"):
        load_settings(toml(tmp_path, '[profiles.environment]\nmllm = "sketch"\nimages = "sketch"\n'), {})


def test_roles_share_a_client_where_all_is_the_same_the_key_too() -> None:
    one = Endpoint(provider="openai", model="m", key_name="KEY", api_key=SecretStr("sk-1"))
    other = one.model_copy(update={"api_key": SecretStr("sk-2")})
    made = make_chats({"planner": one, "refiner": other, "compressor": one.model_copy()}, ServerBook())
    assert made["planner"] is made["compressor"]
    assert made["planner"] is not made["refiner"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("http://box/v1", "http://box/v1/"),
        ("http://box/v1", "http://BOX:80/v1"),
        ("https://api.openai.com/v1", None),
    ],
)
async def test_two_spellings_of_one_server_share_its_places(one: str, other: str | None) -> None:
    under_way, most = 0, 0

    class Slow(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(0.01)
            under_way -= 1
            return httpx.Response(400, json={"error": {"message": "no"}})

    place = Endpoint(
        provider="openai", model="m", base_url=one, api_key=SecretStr("k"), chat=ChatOptions(concurrency=1)
    )
    endpoints: dict[Role, Endpoint] = {"planner": place, "critic": place.model_copy(update={"base_url": other})}
    made = make_chats(endpoints, ServerBook(), Slow())

    async def ask(role: ChatRole) -> None:
        with pytest.raises(GemsConfigError):
            await role.ask(compose("compress", "Plan.", {}), RoundNote)

    await asyncio.gather(*map(ask, made.values()))
    assert most == 1


def test_the_database_is_told_by_the_environment_and_never_shown(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("GEMS_DATABASE_URL=postgresql://me:sk-secret@here/gems\n")
    settings = load_settings(tmp_path, {})
    assert settings.database_url is not None
    assert settings.database_url.get_secret_value() == "postgresql://me:sk-secret@here/gems"
    assert "sk-secret" not in f"{settings!r} {settings} {settings.model_dump()}"
    assert load_settings(tmp_path, {"GEMS_DATABASE_URL": " "}).database_url is None
    with pytest.raises(GemsConfigError, match="GEMS_DATABASE_URL: write postgresql://") as caught:
        load_settings(tmp_path, {"GEMS_DATABASE_URL": "mysql://me:sk-secret@here/gems"})
    assert "sk-secret" not in str(caught.value)


def test_owner_and_retention_come_from_the_environment_or_the_file(tmp_path: Path) -> None:
    assert (load_settings(tmp_path, {}).owner, load_settings(tmp_path, {}).keep_days) == ("me", None)
    (tmp_path / "gems.toml").write_text('owner = "ann"\nkeep_days = 30\n')
    settings = load_settings(tmp_path, {"GEMS_OWNER": "", "GEMS_KEEP_DAYS": " "})
    assert (settings.owner, settings.keep_days) == ("ann", 30)
    settings = load_settings(tmp_path, {"GEMS_OWNER": "bob", "GEMS_KEEP_DAYS": "7"})
    assert (settings.owner, settings.keep_days) == ("bob", 7)


@pytest.mark.parametrize("days", ["0", "-1", "1.5", "a week", "99999999999999999999", "٣"])
def test_days_that_are_none_are_refused(tmp_path: Path, days: str) -> None:
    with pytest.raises(GemsConfigError, match=f"GEMS_KEEP_DAYS is '{days}': write whole days, 1 to 36500"):
        load_settings(tmp_path, {"GEMS_KEEP_DAYS": days})


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ("profile = ", "gems.toml"),
        ('colour = "red"', "colour"),
        ('[profiles.x]\nmllm = "sketch"', "images"),
        ('[profiles.x]\nmllm = "sketch"\nimages = "sketch"\nmax_rounds = 0', "max_rounds 0"),
        ('[profiles.x]\nmllm = "sketch"\nimages = "sketch"\nkey = "sk-secret"', "key"),
        ('[profiles.x]\nmllm = "sketch"\nkey = "sk-secret"', "images"),
        ('database_url = "postgresql://me:sk-secret@here/gems"', "database_url"),
        ("keep_days = 0", "keep_days 0"),
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
        ({"GEMS_PROFILE": "nope"}, "unknown profile 'nope'; there are: flux1-schnell, flux2-klein, openai, paper, "),
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


PASTED = "sk-proj-abcdefhunter2"


@pytest.mark.parametrize("pasted", [PASTED, "hf_AbCdEf123456", "AIzaSyA1234567890", "MY KEY", "", "KEY\n"])
@pytest.mark.parametrize("place", ["{}", "mllm_{}", "images_{}", "roles.critic.model = 'a:b'\nroles.critic.{}"])
def test_a_key_where_its_variables_name_belongs_is_refused_and_not_shown(
    tmp_path: Path, place: str, pasted: str
) -> None:
    line = f"{place.format('api_key_env')} = {json.dumps(pasted)}\n"
    with pytest.raises(GemsConfigError, match=r"api_key_env: .*name the variable .* \.env$") as caught:
        load_settings(toml(tmp_path, f'[profiles.mine]\nmllm = "sketch"\nimages = "sketch"\n{line}'), {})
    assert not pasted or pasted not in str(caught.value)


def test_a_key_is_loaded_without_the_blanks_around_it(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text('OPENAI_API_KEY="sk-x \t"\nGEMS_IMAGES_API_KEY="  "\n', encoding="utf-8")
    settings = load_settings(tmp_path, {})
    assert {name: key.get_secret_value() for name, key in settings.secrets.items()} == {"OPENAI_API_KEY": "sk-x"}


def test_whole_numbers_do_where_fractions_may_stand(tmp_path: Path) -> None:
    text = '[profiles.x]\nmllm = "sketch"\nimages = "sketch"\nmax_cost = 1\nchat = { seconds = 5 }\n'
    profile = load_settings(toml(tmp_path, text), {}).resolve("x")
    assert (profile.max_cost, profile.chat.seconds) == (1.0, 5.0)


def test_settings_that_are_a_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "gems.toml").mkdir()
    with pytest.raises(GemsConfigError, match=r"gems\.toml is a folder or the like, not a file"):
        load_settings(tmp_path, {})


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
    "url",
    [
        "localhost:8000",
        "ftp://box/v1",
        "http://",
        "http://me:pw@box/v1",
        "https://box/v1?key=sk-secret",
        "https://box/v1#sk-secret",
        "http://b ox/v1",
        "http://box:99999/v1",
        "http://box:0/v1",
        "http://box:http/v1",
    ],
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
        ("max_cost = inf", "max_cost inf"),
        ("max_seconds = nan", "max_seconds nan"),
        ("chat = { seconds = inf }", "chat.seconds inf"),
        ("chat = { temperature = inf }", "chat.temperature inf"),
        ("drawing = { guidance_scale = inf }", "drawing.guidance_scale inf"),
        ("drawing = { true_cfg_scale = nan }", "drawing.true_cfg_scale nan"),
        ("drawing = { extra_body = { strength = inf } }", "drawing.extra_body: Value error, JSON has no"),
        ("chat = { extra_body = { when = 2026-01-01 } }", "chat.extra_body: Value error, JSON has no"),
        ("[prices]\n'a:b' = { image = inf }", "prices.a:b.image inf"),
        ("max_cost = true", "max_cost True: Input should be a valid number"),
        ("max_images = true", "max_images True: Input should be a valid integer"),
        ("max_seconds = false", "max_seconds False"),
        ("chat = { seconds = true }", "chat.seconds True"),
        ("[prices]\n'a:b' = { image = true }", "prices.a:b.image True"),
        ("size = 'big'", "size 'big'"),
        ("size = '32x1024'", "each side must be 64 to 4096 pixels"),
    ],
)
def test_nonsense_is_named(tmp_path: Path, line: str, complaint: str) -> None:
    text = f'[profiles.mine]\nmllm = "sketch"\nimages = "sketch"\n{line}\n'
    with pytest.raises(GemsConfigError, match=re.escape(complaint)):
        load_settings(toml(tmp_path, text), {})


@pytest.mark.parametrize(
    ("part", "field", "remedy"),
    [
        ("chat", "model", "set mllm"),
        ("chat", "messages", "the roles write it"),
        ("chat", "n", "one reply is asked for"),
        ("chat", "max_tokens", "set chat.max_tokens"),
        ("chat", "max_completion_tokens", "set chat.max_tokens"),
        ("chat", "response_format", "set chat.output"),
        ("chat", "stream", "replies are read whole"),
        ("drawing", "model", "set images"),
        ("drawing", "prompt", "the loop writes it"),
        ("drawing", "n", "set candidates"),
        ("drawing", "size", "set size"),
        ("drawing", "seed", "set --seed"),
        ("drawing", "image", "pass --reference"),
    ],
)
def test_fields_of_the_servers_own_do_not_pass_what_is_reserved(
    tmp_path: Path, part: str, field: str, remedy: str
) -> None:
    text = '[profiles.mine]\nmllm = "sketch"\nimages = "sketch"\n'
    with pytest.raises(GemsConfigError, match=rf"{part}\.extra_body: .*'{field}' must not stand here: {remedy}"):
        load_settings(toml(tmp_path, f"{text}{part}.extra_body = {{ {field} = 9 }}\n"), {})
    load_settings(toml(tmp_path, f"{text}{part}.extra_body = {{ {field}_of_mine = 9 }}\n"), {})


@pytest.mark.parametrize("model", ["openai:m", "reference:z", "comfyui:flow.json"])
def test_a_server_with_a_key_costs_money(tmp_path: Path, model: str) -> None:
    env = {"GEMS_IMAGES": model, "GEMS_IMAGES_BASE_URL": "http://cloud.example"}
    assert load_settings(tmp_path, env).resolve().max_images is None
    assert load_settings(tmp_path, env | {"GEMS_IMAGES_API_KEY": "k"}).resolve().max_images == PAID_CAPS["max_images"]


@pytest.mark.parametrize("key", ["sk-abc…def", "two keys", "line\nbreak"])
def test_what_cannot_be_a_key_is_refused_unseen(tmp_path: Path, key: str) -> None:
    with pytest.raises(GemsConfigError, match="OPENAI_API_KEY holds characters that no key has") as caught:
        load_settings(tmp_path, {"OPENAI_API_KEY": key})
    assert key not in str(caught.value)


def test_a_server_beside_weights_of_ones_own_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "gems.toml").write_text(
        '[profiles.mine]\nmllm = "sketch"\nimages = "diffusers:a/b"\nimages_base_url = "http://localhost:8000/v1"\n'
    )
    settings = load_settings(tmp_path, {})
    with pytest.raises(
        GemsConfigError, match="images_base_url is 'http://localhost:8000/v1', but diffusers: models are"
    ):
        settings.images(settings.resolve("mine"))
