"""Users of a server: whose images and runs are whose, and addresses that carry leave to see one image."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage
from langgraph.checkpoint.memory import InMemorySaver
from pydantic import SecretStr

from gems.backends.chat.rehearsal import rehearse
from gems.backends.images.scripted import ScriptedImages
from gems.core.errors import ArtifactCorrupt, GemsConfigError
from gems.core.links import DAYS, ImageLinks
from gems.core.ports import RunRecord
from gems.core.settings import Settings, load_settings
from gems.core.signing import is_signature, signature
from gems.graph import GemsGraph, OwnServices, build_graph, graph
from gems.graph.serving import ServedGraph
from gems.graph.sessions import ExclusiveGraph
from gems.memory import FileArtifacts, SqliteFile, SqlRuns
from gems.memory.holdings import SqlHoldings
from gems.memory.owned import OwnedArtifacts

ANNA, BOB = SecretStr("anna-anna-anna-anna"), SecretStr("bobbob-bobbob-bobbob")
TOKENS = {"anna": ANNA, "b.o@b": BOB}
PNG = "ab" * 32


def test_tokens_are_read_with_their_owners(tmp_path: Path) -> None:
    settings = load_settings(tmp_path, {"GEMS_TOKENS": f" anna:{ANNA.get_secret_value()}, b.o@b:{'x' * 16},"})
    assert {name: token.get_secret_value() for name, token in settings.tokens.items()} == {
        "anna": "anna-anna-anna-anna",
        "b.o@b": "x" * 16,
    }
    assert "anna-anna" not in repr(settings)
    assert load_settings(tmp_path, {}).tokens == {}


@pytest.mark.parametrize(
    "text",
    ["secret-without-a-name", "anna:short", ":secret-secret-secret", "an na:secret-secret-secret", "anna:secret secret secret", "../x:secret-secret-secret", "anna:sécret-secret-secret"],
)  # fmt: skip
def test_tokens_that_are_none_are_refused_and_not_repeated(tmp_path: Path, text: str) -> None:
    with pytest.raises(GemsConfigError, match="GEMS_TOKENS: write NAME:TOKEN") as caught:
        load_settings(tmp_path, {"GEMS_TOKENS": text})
    assert "secret-" not in str(caught.value)


@pytest.mark.parametrize("other", ["anna:another-another-another", "bob:anna-anna-anna-anna"])
def test_a_name_and_a_token_are_there_once(tmp_path: Path, other: str) -> None:
    with pytest.raises(GemsConfigError, match="is there twice"):
        load_settings(tmp_path, {"GEMS_TOKENS": f"anna:{ANNA.get_secret_value()},{other}"})


def test_the_server_says_where_it_is_unless_the_setting_does(tmp_path: Path) -> None:
    dev = {"LANGGRAPH_API_URL": "http://127.0.0.1:2024"}
    assert load_settings(tmp_path, {}).public_url is None
    assert load_settings(tmp_path, dev).public_url == "http://127.0.0.1:2024"
    assert (
        load_settings(tmp_path, {**dev, "GEMS_PUBLIC_URL": "https://draw.example"}).public_url == "https://draw.example"
    )
    with pytest.raises(GemsConfigError, match="GEMS_PUBLIC_URL: a base URL begins with"):
        load_settings(tmp_path, {"GEMS_PUBLIC_URL": "draw.example"})


def test_a_signature_is_good_for_its_token_purpose_and_text_alone() -> None:
    made = signature(ANNA, "session", "anna 1")
    assert is_signature(ANNA, "session", "anna 1", made)
    assert not is_signature(BOB, "session", "anna 1", made)
    assert not is_signature(ANNA, "image", "anna 1", made)
    assert not is_signature(ANNA, "session", "anna 2", made)
    assert not is_signature(ANNA, "session", "anna 1", "é" + made)


def test_an_address_lets_one_see_one_image_for_some_days(monkeypatch: pytest.MonkeyPatch) -> None:
    links = ImageLinks("https://here/", TOKENS)
    url = links.url(PNG, "b.o@b")
    assert url is not None
    assert url.startswith(f"https://here/gems/images/{PNG}?key=b.o%40b.")
    assert url == links.url(PNG, "b.o@b")
    key = url.partition("?key=")[2].replace("%40", "@")
    assert links.owner_of_key(PNG, key) == "b.o@b"
    assert links.owner_of_key("cd" * 32, key) is None
    assert links.owner_of_key(PNG, key.replace("b.o@b", "anna")) is None
    name, expires, signed = key.rsplit(".", 2)
    for forged in (f"{name}.{int(expires) + 86400}.{signed}", f"{name}.{expires}.{signed[:-1]}", "", "...", key + ".x", f"{name}.-1.{signed}"):  # fmt: skip
        assert links.owner_of_key(PNG, forged) is None
    assert ImageLinks("https://here", {"b.o@b": ANNA}).owner_of_key(PNG, key) is None
    later = time.time() + (DAYS + 2) * 86400
    monkeypatch.setattr(time, "time", lambda: later)
    assert links.owner_of_key(PNG, key) is None


def test_without_tokens_an_address_is_plain_and_without_a_server_there_is_none() -> None:
    assert ImageLinks("http://here", {}).url(PNG, "me") == f"http://here/gems/images/{PNG}"
    assert ImageLinks(None, TOKENS).url(PNG, "anna") is None
    assert ImageLinks("http://here", TOKENS).url(PNG, "nobody") is None


async def test_each_user_has_their_own_images(tmp_path: Path) -> None:
    store, holdings = FileArtifacts(tmp_path), SqlHoldings(SqliteFile(tmp_path / "h.sqlite"))
    users: dict[str | None, OwnedArtifacts] = {
        name: OwnedArtifacts(store, holdings, "me", lambda name=name: name)  # type: ignore[misc]
        for name in ("anna", "bob", "me", None)
    }
    hers = await users["anna"].put(b"hers")
    machines = await users[None].put(b"the machine's")
    assert [await users[name].has(hers) for name in users] == [True, False, False, True]
    assert [await users[name].has(machines) for name in users] == [False, False, True, True]
    with pytest.raises(ArtifactCorrupt, match="there is none of that id"):
        await users["bob"].get(hers)
    assert await users["bob"].put(b"hers") == hers
    assert await users["bob"].get(hers) == b"hers"
    with pytest.raises(GemsConfigError, match="not an artifact id"):
        await users["bob"].has("../../etc/passwd")
    await holdings.forget([hers])
    assert await holdings.owners(hers) == set()


async def test_runs_are_found_by_owner_text_and_page(tmp_path: Path) -> None:
    runs = SqlRuns(SqliteFile(tmp_path / "runs.sqlite"))
    for number, (owner, prompt) in enumerate(
        [("anna", "A red Dog"), ("bob", "50% of a dog"), ("", "a_b"), ("anna", "a cat")]
    ):
        await runs.record(
            RunRecord(f"t{number}", "x", prompt, "sketch", "done", None, None, 0, None, number, number, owner)
        )

    async def ids(**wanted: Any) -> list[str]:
        return [it.thread_id for it in await runs.recent(**{"limit": 9, **wanted})]

    assert await ids() == ["t3", "t2", "t1", "t0"]
    assert await ids(owners={"anna"}) == ["t3", "t0"]
    assert await ids(owners={"me", ""}) == ["t2"]
    assert await ids(owners=set()) == []
    assert await ids(search="DOG") == ["t1", "t0"]
    assert await ids(search="0%") == ["t1"]
    assert await ids(search="a_") == ["t2"]
    assert await ids(limit=2, offset=1) == ["t2", "t1"]
    stolen = RunRecord("t0", "y", "mine now", "sketch", "done", None, None, 0, None, 9, 9, "bob")
    await runs.record(stolen)
    found = await runs.find("t0")
    assert found is not None
    assert (found.prompt, found.owner) == ("mine now", "anna")
    assert await runs.find("nothing") is None


# In the graph


def settings_of(settings: Settings) -> Settings:
    return settings.model_copy(update={"tokens": TOKENS, "public_url": "http://127.0.0.1:2024"})


def make(settings: Settings, *marks: str) -> tuple[OwnServices, GemsGraph]:
    services = OwnServices(settings_of(settings), chat=rehearse(list(marks)), images=ScriptedImages())
    return services, build_graph(services, checkpointer=InMemorySaver())


def config(user: str | None, thread: str = "t") -> Any:
    return {"configurable": {"thread_id": thread, **({"langgraph_auth_user_id": user} if user else {})}}


OPTIONS: Any = {"size": "64x64", "seed": 7, "lessons": False}


async def test_a_chat_is_answered_with_an_address_of_the_users_own(settings: Settings) -> None:
    services, built = make(settings, "+++")
    said: Any = {"messages": [{"role": "user", "content": "two red dogs"}]}
    await built.ainvoke(said, config("anna"), context=OPTIONS)
    state = (await built.aget_state(config("anna"))).values
    artifact, url = state["result"]["image"], state["result"]["image_url"]
    assert services.links.owner_of_key(artifact, url.partition("?key=")[2]) == "anna"
    answer = state["messages"][-1]
    assert isinstance(answer, AIMessage)
    assert f"![The picture]({url})" in answer.text
    assert {"type": "image", "url": url, "mime_type": "image/png"} in answer.content
    assert ANNA.get_secret_value() not in str(state)
    line = await services.runs.find("t")
    assert line is not None
    assert line.owner == "anna"
    assert await services.holdings.owners(artifact) == {"anna"}


async def test_without_a_server_there_is_no_address(settings: Settings) -> None:
    services = OwnServices(settings, chat=rehearse(["+++"]), images=ScriptedImages())
    built = build_graph(services, checkpointer=InMemorySaver())
    said: Any = {"messages": [{"role": "user", "content": "two red dogs"}]}
    await built.ainvoke(said, config(None), context=OPTIONS)
    state = (await built.aget_state(config(None))).values
    assert "image_url" not in state["result"]
    assert state["messages"][-1].content.startswith("Picture ")


async def test_another_users_image_is_no_reference_and_no_source(settings: Settings) -> None:
    services, built = make(settings, "+++", "+++")
    hers = await services.artifacts_of(lambda: "anna").put(b"her picture")
    wanted: Any = {"prompt": "two red dogs", "references": [hers]}
    with pytest.raises(GemsConfigError, match=f"there is no image '{hers}'"):
        await built.ainvoke(wanted, config("b.o@b"), context=OPTIONS)
    await built.ainvoke({"prompt": "two red dogs"}, config("b.o@b"), context=OPTIONS)  # type: ignore[call-overload]
    attempt = (await built.aget_state(config("b.o@b"))).values["attempts"][0]
    unjudged = {**{name: attempt[name] for name in attempt if name not in ("verdicts", "score")}, "artifact": hers}
    forged = await built.aupdate_state(
        config("b.o@b"), {"attempts": {"__overwrite__": [unjudged]}, "status": "running"}, as_node="generator"
    )
    with pytest.raises(ArtifactCorrupt, match="there is none of that id"):
        await built.ainvoke(None, {"configurable": {**config("b.o@b")["configurable"], **forged["configurable"]}})


async def test_a_thread_that_was_another_users_does_not_go_on(settings: Settings) -> None:
    _, built = make(settings, "+++", "+++")
    await built.ainvoke({"prompt": "two red dogs"}, config("anna"), context=OPTIONS)  # type: ignore[call-overload]
    with pytest.raises(GemsConfigError, match="there is no trajectory"):
        await built.ainvoke({"prompt": "make them blue"}, config("b.o@b"), context=OPTIONS)  # type: ignore[call-overload]


FORGED = [
    ({"options": {"width": 6016}}, "size '6016x64': each side must be 64 to 4096 pixels"),
    ({"options": {"candidates": 400}}, "option candidates 400"),
    ({"options": {"profile": 7}}, "option profile 7"),
    ({"proposals": 400}, "the state has 400 proposals: a round draws 16 at most"),
    ({"trajectory": "other"}, "there is no trajectory"),
]


@pytest.mark.parametrize(("forged", "words"), FORGED, ids=lambda it: str(it)[:30])
async def test_a_state_that_asks_for_more_than_a_request_could_is_refused(
    settings: Settings, forged: dict[str, Any], words: str
) -> None:
    services, built = make(settings, "+--", "+++", "+++")
    await built.ainvoke({"prompt": "two red dogs"}, config("anna", "hers"), context=OPTIONS)  # type: ignore[call-overload]
    own = config("b.o@b")
    await built.ainvoke({"prompt": "two red dogs"}, own, context=OPTIONS)  # type: ignore[call-overload]
    state = (await built.aget_state(own)).values
    # A picture of its own is to be drawn once more.
    told = ("round", "action", "prompt", "seed", "parent")
    undrawn = [{"id": "9.1"} | {name: state["attempts"][0][name] for name in told}]
    update: dict[str, Any] = {"status": "running", "stop_reason": None, "proposals": undrawn}
    if "options" in forged:
        update["options"] = state["options"] | forged["options"]
    if "proposals" in forged:
        update["proposals"] = undrawn * 400
    if "trajectory" in forged:
        hers = await services.runs.find("hers")
        assert hers is not None
        update["trajectory_id"] = hers.trajectory_id
    calls = services.purses.of(state["trajectory_id"])

    async def go_on() -> None:
        changed = await built.aupdate_state(own, update, as_node="brief")
        await built.ainvoke(None, {"configurable": {**own["configurable"], **changed["configurable"]}})

    with pytest.raises(GemsConfigError, match=re.escape(words)):
        await go_on()
    assert services.purses.of(state["trajectory_id"]) is calls
    assert (await built.aget_state(own)).values["attempts"] == state["attempts"]


def test_the_servers_graph_holds_its_threads_once_it_has_a_checkpointer() -> None:
    assert isinstance(graph, ServedGraph)
    assert isinstance(graph, ExclusiveGraph)
    assert graph.stores is None
    assert graph.copy({"checkpointer": InMemorySaver()}).stores is not None
    assert graph.copy({"checkpointer": None}).stores is None
