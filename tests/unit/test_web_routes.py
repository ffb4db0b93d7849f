"""What the server tells of runs: the gallery, a thread, its downloads and report; and of itself."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from blockbuster import blockbuster_ctx
from langgraph.types import Command
from pydantic import SecretStr
from starlette.types import Receive, Scope, Send

from gems import __version__
from gems.app.web import health, options, reports, runs, threads
from gems.app.web.site import Site, make_app
from gems.app.web.untold import model_name, untold
from gems.backends.chat.rehearsal import rehearse
from gems.backends.images.scripted import ScriptedImages
from gems.core.context import GemsContext
from gems.core.errors import GemsConfigError, ModelOutage
from gems.core.events import events_schema
from gems.core.ports import Capabilities, DrawRequest
from gems.core.profiles import Profile
from gems.core.settings import Settings
from gems.graph import OwnServices, open_graph
from gems.graph.serving import Threads
from gems.memory.artifacts import FileArtifacts
from gems.memory.png import read_png_text

TOKENS = {"anna": SecretStr("a" * 20), "bob": SecretStr("b" * 20)}
OUTAGE = "scripted at http://10.0.0.7:8000/v1: cannot read /srv/models/secret/model.safetensors"


class House:
    """A machine whose runs are made by the command line's graph, and whose server is visited."""

    def __init__(self, settings: Settings, *marks: str) -> None:
        self.settings = settings
        self.outage = False
        self.images = ScriptedImages(self._fault)
        self.services = OwnServices(settings, chat=rehearse(marks or ["+++"]), images=self.images)

    def _fault(self, _: DrawRequest) -> Exception | None:
        return ModelOutage(OUTAGE) if self.outage else None

    async def run(self, thread_id: str, given: Any = "two red dogs", user: str = "", **context: Any) -> None:
        """An invocation from its beginning to its end, or to its question."""
        config: Any = {"configurable": {"thread_id": thread_id, **({"langgraph_auth_user_id": user} if user else {})}}
        asked: Any = {"prompt": given} if isinstance(given, str) else given
        options: Any = {} if isinstance(given, Command) else {"size": "64x64", "seed": 7, **context}
        async with open_graph(self.settings, services=self.services) as graph:
            await graph.ainvoke(asked, config, context=options)

    async def die(self, thread_id: str, *, after: int) -> None:
        """An invocation whose process is gone after so many steps."""
        config: Any = {"configurable": {"thread_id": thread_id}}
        async with open_graph(self.settings, services=self.services) as graph:
            stream: Any = graph.astream(
                {"prompt": "two red dogs"}, config, context={"size": "64x64"}, stream_mode="updates", durability="sync"
            )
            async with aclosing(stream) as steps:
                async for _ in steps:
                    after -= 1
                    if after == 0:
                        break

    @asynccontextmanager
    async def visit(self, user: str = "") -> AsyncIterator[httpx.AsyncClient]:
        """A client of the server, as somebody whom its auth handler has recognised."""
        known = Threads(self.services)
        made = [runs.routes, threads.routes, reports.routes, options.routes, health.routes]
        app = make_app(Site(self.services, known), made)

        async def recognised(scope: Scope, receive: Receive, send: Send) -> None:
            scope["user"] = SimpleNamespace(identity=user) if user else None
            await app(scope, receive, send)

        transport = httpx.ASGITransport(recognised)
        async with known, httpx.AsyncClient(transport=transport, base_url="http://gems") as client:
            yield client

    async def get(self, path: str, user: str = "") -> httpx.Response:
        async with self.visit(user) as client:
            return await client.get(path)

    async def told(self, path: str, user: str = "") -> dict[str, Any]:
        answer = await self.get(path, user)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found


@pytest.fixture
def house(settings: Settings) -> House:
    return House(settings)


async def test_a_finished_run_is_told_whole(settings: Settings) -> None:
    house = House(settings, "+--", "+++")
    await house.run("t")
    told = await house.told("/gems/threads/t")
    assert list(told) == ["thread_id", "continues", "status", "state", "question", "spent", "because", "diagnoses"]
    assert told["diagnoses"] == {"1": "not yet right"}
    assert (told["thread_id"], told["continues"], told["status"], told["question"]) == ("t", False, "done", None)
    assert told["because"] == "every requirement is met"
    assert told["spent"]["images"] == 2
    state = told["state"]
    assert [(it["id"], it["score"]) for it in state["attempts"]] == [("1.1", pytest.approx(1 / 3)), ("2.1", 1.0)]
    assert (state["best"], state["stop_reason"]) == ("2.1", "satisfied")
    assert state["requirements"][0]["question"] == "Is there a dog?"
    assert "messages" not in state


async def test_the_diagnoses_of_all_rounds_are_told_though_the_state_keeps_the_last(settings: Settings) -> None:
    house = House(settings, "+--", "-+-", "--+", "+++")
    async with house.visit() as client:
        for rounds, marks in ((1, []), (3, ["1", "2"]), (4, ["1", "2", "3"])):
            await house.run("t", {} if rounds > 1 else "two red dogs", max_rounds=rounds)
            told = (await client.get("/gems/threads/t")).json()
            assert told["state"]["thoughts"] == []
            assert list(told["diagnoses"]) == marks


async def test_a_state_that_names_anothers_trajectory_tells_no_diagnosis_of_it(settings: Settings) -> None:
    house = House(settings.model_copy(update={"tokens": TOKENS}), "+--", "+++")
    await house.run("hers", user="anna")
    house.services = OwnServices(house.settings, chat=rehearse(["+--", "+++"]), images=ScriptedImages())
    await house.run("his", user="bob")
    hers = (await house.told("/gems/threads/hers", "anna"))["state"]["trajectory_id"]
    assert (await house.told("/gems/threads/his", "bob"))["diagnoses"] == {"1": "not yet right"}
    async with open_graph(house.settings, services=house.services) as graph:
        await graph.aupdate_state({"configurable": {"thread_id": "his"}}, {"trajectory_id": hers}, as_node="finish")
    async with house.visit("bob") as client:
        told = (await client.get("/gems/threads/his")).json()
    assert (told["state"]["trajectory_id"], told["diagnoses"]) == (hers, {})
    assert (await house.told("/gems/threads/hers", "anna"))["diagnoses"] == {"1": "not yet right"}


async def test_a_thread_of_the_server_can_be_gone_on_with(house: House) -> None:
    thread_id = str(uuid.uuid4())
    await house.run(thread_id)
    assert (await house.told(f"/gems/threads/{thread_id}"))["continues"] is True
    assert [it["continues"] for it in (await house.told("/gems/runs"))["runs"]] == [True]


async def test_a_run_that_waits_tells_its_question_and_the_form_of_the_answer(settings: Settings) -> None:
    house = House(settings, "+--")
    await house.run("t", review="round", max_rounds=1)
    told = await house.told("/gems/threads/t")
    assert (told["status"], told["because"]) == ("waiting", "it waits for your answer to the plan")
    question = told["question"]
    assert (question["value"]["kind"], question["value"]["prompts"]) == ("plan", ["two red dogs"])
    assert question["response_schema"]["properties"]["drop"]["items"]["enum"] == ["r1", "r2", "r3"]
    assert [it["status"] for it in (await house.told("/gems/runs"))["runs"]] == ["waiting"]
    await house.run("t", Command(resume={"action": "approve"}))
    after = await house.told("/gems/threads/t")
    assert (after["status"], after["because"]) == ("waiting", "it waits for your answer to round 1")
    assert after["question"]["id"] != question["id"]
    assert after["question"]["value"]["attempts"][0]["artifact"]
    await house.run("t", Command(resume={"action": "accept"}))
    end = await house.told("/gems/threads/t")
    assert (end["status"], end["question"]) == ("done", None)
    assert end["because"] == "you took the best image as it is"


@pytest.mark.parametrize("after", [1, 3, 4])
async def test_a_run_whose_process_died_can_go_on(house: House, after: int) -> None:
    await house.die("t", after=after)
    told = await house.told("/gems/threads/t")
    assert (told["status"], told["question"]) == ("stopped", None)
    assert told["because"] == "it is not finished, and can go on: nobody is working on it"
    assert told["state"]["request"]["prompt"] == "two red dogs"
    assert [it["status"] for it in (await house.told("/gems/runs"))["runs"]] == ["stopped"]


async def test_a_run_that_somebody_works_on_is_running(settings: Settings) -> None:
    house = House(settings)
    await house.run("waiting", review="plan")
    await house.die("dead", after=3)
    await house.run("done")
    for thread_id, status, because in [
        ("waiting", "running", "it is being worked on"),
        ("dead", "running", "it is being worked on"),
        ("done", "done", "every requirement is met"),
    ]:
        with house.services.stores.locks.hold(thread_id):
            told = await house.told(f"/gems/threads/{thread_id}")
            (line,) = [it for it in (await house.told("/gems/runs"))["runs"] if it["thread_id"] == thread_id]
        assert (told["status"], told["because"], told["question"]) == (status, because, None)
        assert line["status"] == status
    assert (await house.told("/gems/threads/waiting"))["status"] == "waiting"


async def test_a_refused_run_says_why(house: House) -> None:
    with pytest.raises(GemsConfigError):
        await house.run("t", "")
    told = await house.told("/gems/threads/t")
    assert (told["status"], told["because"]) == ("failed", "it was refused: the prompt is empty: say what to draw")
    assert (await house.told("/gems/runs"))["runs"] == []
    assert (await house.get("/gems/report/t")).status_code == 404


async def test_a_refused_message_leaves_the_run_as_it_was(house: House) -> None:
    await house.run("t")
    with pytest.raises(GemsConfigError):
        await house.run("t", "a" * 30_000)
    told = await house.told("/gems/threads/t")
    assert (told["status"], told["because"]) == ("done", "every requirement is met")


async def test_an_outage_is_told_without_paths_and_addresses(house: House) -> None:
    house.outage = True
    with pytest.raises(ModelOutage):
        await house.run("t")
    answer = await house.get("/gems/threads/t")
    told = answer.json()
    assert told["status"] == "stopped"
    assert told["because"] == (
        "it is not finished, and can go on: its last step failed: scripted at (address): cannot read model.safetensors"
    )
    assert "10.0.0.7" not in answer.text
    assert "/srv" not in answer.text


async def test_a_run_without_a_picture_says_what_failed(house: House) -> None:
    house.outage = True

    async with open_graph(house.settings, services=house.services) as graph:
        config: Any = {"configurable": {"thread_id": "t"}}
        house.outage = False
        await house.run("t")
        attempt = {"id": "1.1", "failure": "outage", "error": OUTAGE}
        state = dict((await graph.aget_state(config)).values)
        lost = {key: value for key, value in state["attempts"][0].items() if key not in ("artifact", "verdicts")}
        await graph.aupdate_state(
            config,
            {
                "attempts": {"__overwrite__": [{**lost, **attempt}]},
                "status": "failed",
                "stop_reason": "failed",
                "warnings": {"__overwrite__": ["/home/anna/skills/broken/SKILL.md:3: no name"]},
            },
            as_node="finish",
        )
    told = await house.told("/gems/threads/t")
    assert told["status"] == "failed"
    words = "scripted at (address): cannot read model.safetensors"
    assert told["because"] == f"no image could be drawn: {words}"
    assert told["state"]["attempts"][0]["error"] == words
    assert told["state"]["warnings"] == ["SKILL.md:3: no name"]
    report = (await house.get("/gems/report/t")).text
    assert words in report
    assert "/srv" not in report


async def test_nothing_told_names_this_machine(settings: Settings) -> None:
    profiles = {"mine": Profile(mllm="sketch", images="sketch", lessons=False)}
    settings = settings.model_copy(
        update={
            "profiles": {**settings.profiles, **profiles},
            "folder": settings.home.parent,
            "secrets": {"OPENAI_API_KEY": SecretStr("sk-very-secret-key")},
            "public_url": "http://gems.example:2024",
        }
    )
    house = House(settings)
    await house.run("t", profile="mine")
    await house.run("w", profile="mine", review="plan")
    paths = ["threads/t", "threads/w", "runs", "report/t", "report/w", "options", "health"]
    texts = [(await house.get(f"/gems/{path}")).text for path in paths]
    for text in texts:
        for secret in (str(settings.home), str(settings.home.parent), "sk-very-secret", "gems.example", "GEMS_HOME"):
            assert secret not in text


async def test_an_older_checkpoint_is_brought_up_and_a_newer_one_refused_in_words(house: House) -> None:
    config: Any = {"configurable": {"thread_id": "t"}}
    await house.run("t")
    async with open_graph(house.settings, services=house.services) as graph:
        before = (await graph.aget_state(config)).values["options"]
        older = {name: value for name, value in before.items() if name not in ("review", "memory")}
        await graph.aupdate_state(config, {"schema": 1, "options": older}, as_node="finish")
    state = (await house.told("/gems/threads/t"))["state"]
    assert (state["schema"], state["options"]["review"], state["options"]["memory"]) == (2, "none", "experience")
    async with open_graph(house.settings, services=house.services) as graph:
        await graph.aupdate_state(config, {"schema": 99}, as_node="finish")
    answer = await house.get("/gems/threads/t")
    assert (answer.status_code, "newer GEMS" in answer.json()["error"]) == (409, True)
    # The gallery still lists it.
    assert [it["status"] for it in (await house.told("/gems/runs"))["runs"]] == ["done"]


async def test_a_thread_that_is_not_known_is_not_there(house: House) -> None:
    await house.run("t")
    strange = ["nobody", "..", "..%2f..%2fetc%2fpasswd", "%00", "t%0a", "x" * 256, "%F0%9F%90%95", "' OR 1=1 --", "t;"]
    async with house.visit() as client:
        for thread in strange:
            for path in (f"threads/{thread}", f"report/{thread}", f"threads/{thread}/attempts/1.1.png"):
                answer = await client.get(f"/gems/{path}")
                assert (answer.status_code, list(answer.json())) == (404, ["error"]), path
                assert len(answer.text) < 400


async def test_a_download_says_what_it_is_of(settings: Settings) -> None:
    house = House(settings, "+--", "+++")
    await house.run("t")
    answer = await house.get("/gems/threads/t/attempts/2.1.png")
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["content-disposition"] == 'attachment; filename="t-round-2-a.png"'
    text = read_png_text(answer.content)
    assert {name: text[name] for name in ("request", "seed", "thread", "round", "model")} == {
        "request": "two red dogs",
        "seed": str((await house.told("/gems/threads/t"))["state"]["attempts"][1]["seed"]),
        "thread": "t",
        "round": "2",
        "model": "scripted",
    }
    assert text["prompt"] == "two red dogs, attempt 2"


async def test_a_download_is_named_safely_whatever_the_thread_is_called(house: House) -> None:
    await house.run('my "red" dogs; ü')
    answer = await house.get("/gems/threads/my%20%22red%22%20dogs;%20%C3%BC/attempts/1.1.png")
    assert answer.headers["content-disposition"] == 'attachment; filename="my__red__dogs___-round-1-a.png"'


async def test_an_attempt_that_is_not_known_is_not_there(house: House) -> None:
    await house.run("t")
    async with house.visit() as client:
        for attempt in ("9.1", "..", "1.1.png", "%2e%2e%2f1.1", "x" * 500):
            answer = await client.get(f"/gems/threads/t/attempts/{attempt}.png")
            assert (answer.status_code, len(answer.text) < 200) == (404, True), attempt


async def test_a_lost_picture_costs_neither_the_report_nor_a_path(house: House) -> None:
    await house.run("t")
    for file in (house.settings.home / "artifacts").rglob("*.png"):
        file.unlink()
    download = await house.get("/gems/threads/t/attempts/1.1.png")
    assert (download.status_code, str(house.settings.home) in download.text) == (404, False)
    report = await house.get("/gems/report/t")
    assert (report.status_code, str(house.settings.home) in report.text) == (200, False)
    assert "lost or damaged on the server" in report.text


async def test_a_report_runs_nothing(house: House) -> None:
    await house.run("t", '<script>alert("dogs")</script>')
    answer = await house.get("/gems/report/t")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert "script-src" not in policy
    assert (policy["sandbox"], policy["img-src"]) == ("allow-popups", "data:")
    assert "<script" not in answer.text
    assert "&lt;script&gt;" in answer.text


async def test_runs_come_page_by_page(house: House) -> None:
    for number in range(5):
        await house.run(f"t{number}", f"two red dogs {number}")
    async with house.visit() as client:
        pages = [(await client.get(f"/gems/runs?limit=2&offset={offset}")).json() for offset in (0, 2, 4, 6)]
    assert [[it["thread_id"] for it in page["runs"]] for page in pages] == [["t4", "t3"], ["t2", "t1"], ["t0"], []]
    assert [page["more"] for page in pages] == [True, True, False, False]
    (line,) = pages[2]["runs"]
    assert list(line) == [
        *("thread_id", "prompt", "profile", "status", "stop_reason", "score", "rounds", "best", "started", "updated"),
        "continues",
    ]
    assert (line["prompt"], line["profile"], line["status"], line["score"]) == ("two red dogs 0", "sketch", "done", 1.0)


async def test_runs_are_searched_by_their_words(house: House) -> None:
    for thread_id, prompt in {"a": "two red dogs", "b": "a Red hat, dogs", "c": "100% wool", "d": "dogs_1"}.items():
        await house.run(thread_id, prompt)
    wanted = {
        "RED": ["a", "b"],
        "  dogs ": ["a", "b", "d"],
        "100%": ["c"],
        "%": ["c"],
        "_": ["d"],
        "d_g": [],
        "!": [],
        "'; DROP TABLE runs; --": [],
        "": ["a", "b", "c", "d"],
    }
    async with house.visit() as client:
        for search, found in wanted.items():
            answer = await client.get("/gems/runs", params={"search": search})
            assert sorted(it["thread_id"] for it in answer.json()["runs"]) == found, search


async def test_other_numbers_are_refused(house: House) -> None:
    wrong = {"limit": ["0", "101", "x", "-1", "", "²", "1e1"], "offset": ["-1", "9999999999", "x" * 5000]}
    async with house.visit() as client:
        for name, texts in wrong.items():
            for text in texts:
                answer = await client.get("/gems/runs", params={name: text})
                assert answer.status_code == 400, (name, text)
                assert answer.json()["error"].startswith(f"{name} is ")
                assert len(answer.text) < 200


@pytest.mark.parametrize("search", ["x" * 201, "a%00b"])
async def test_a_search_that_is_no_text_is_refused(house: House, search: str) -> None:
    assert (await house.get(f"/gems/runs?search={search}")).status_code == 400


async def test_two_users_share_nothing(settings: Settings) -> None:
    house = House(settings.model_copy(update={"tokens": TOKENS, "owner": "anna"}))
    await house.run("hers", "two red dogs", user="anna")
    await house.run("his", "two blue dogs", user="bob")
    await house.run("old", "two green dogs")  # by the command line: the machine's owner's
    with pytest.raises(GemsConfigError):
        await house.run("refused", "", user="bob")
    seen: dict[str, list[str]] = {}
    for user in ("anna", "bob", "eve"):
        async with house.visit(user) as client:
            listed = [it["thread_id"] for it in (await client.get("/gems/runs")).json()["runs"]]
            seen[user] = sorted(listed)
            for thread_id in ("hers", "his", "old"):
                status = 200 if thread_id in listed else 404
                for path in (f"threads/{thread_id}", f"report/{thread_id}", f"threads/{thread_id}/attempts/1.1.png"):
                    answer = await client.get(f"/gems/{path}")
                    assert answer.status_code == status, (user, path)
            refused = (await client.get("/gems/threads/refused")).status_code
            assert refused == (200 if user == "bob" else 404), user
    assert seen == {"anna": ["hers", "old"], "bob": ["his"], "eve": []}
    # LangGraph's own requests inside its process come without a user.
    for path in ("runs", "threads/old", "report/old", "threads/old/attempts/1.1.png"):
        assert (await house.get(f"/gems/{path}")).status_code == 401
    # What is not theirs and what is not there look alike.
    async with house.visit("bob") as client:
        foreign, missing = [(await client.get(f"/gems/threads/{it}")).json() for it in ("hers", "none")]
    assert foreign["error"].replace("hers", "") == missing["error"].replace("none", "")


async def test_a_search_sees_ones_own_runs_alone(settings: Settings) -> None:
    house = House(settings.model_copy(update={"tokens": TOKENS}))
    await house.run("hers", "two red dogs", user="anna")
    assert (await house.told("/gems/runs?search=red", "bob")) == {"runs": [], "more": False}
    assert len((await house.told("/gems/runs?search=red", "anna"))["runs"]) == 1


async def test_nothing_blocks_the_loop(settings: Settings) -> None:
    # LangGraph's development server refuses to run what does.
    house = House(settings, "+--", "+++")
    await house.run("t")
    await house.die("dead", after=3)
    paths = [
        "runs",
        "threads/t",
        "threads/dead",
        "threads/t/attempts/1.1.png",
        "report/t",
        "options",
        "events.json",
        "health",
    ]
    async with house.visit() as client:
        with blockbuster_ctx():
            found = [(await client.get(f"/gems/{path}")).status_code for path in paths]
    assert found == [200] * len(paths)


async def test_options_tell_profiles_skills_and_limits(settings: Settings) -> None:
    profiles = {
        "broken": Profile(mllm="sketch", images="diffusers:/srv/models/mine.safetensors"),
        "paid": Profile(mllm="openai:gpt-5-mini", images="openai:gpt-image-1-mini", api_key_env="OPENAI_API_KEY"),
        "sketch": settings.profiles["sketch"],
    }
    house = House(settings.model_copy(update={"profiles": profiles}))
    answer = await house.get("/gems/options")
    told = answer.json()
    named = {it["name"]: it for it in told["profiles"]}
    assert list(named) == ["broken", "paid", "sketch"]
    assert [it["default"] for it in named.values()] == [False, False, True]
    assert [it["paid"] for it in named.values()] == [False, True, False]
    assert named["sketch"]["size"] == "1024x1024"
    assert "/srv" not in answer.text
    assert named["broken"]["images"] == "diffusers:mine.safetensors"
    assert {"name", "description"} == set(told["skills"][0])
    limits = told["limits"]
    fields = GemsContext.model_json_schema()["properties"]
    assert limits["max_rounds"] == fields["max_rounds"]["anyOf"][0]["maximum"] == 100
    assert (limits["image_bytes"], limits["image_pixels"]) == (30 * 2**20, 40_000_000)
    assert told["version"] == __version__


async def test_options_tell_what_a_profile_can_do_and_why_it_cannot(settings: Settings) -> None:
    house = House(settings)
    house.services = OwnServices(
        settings.model_copy(update={"profiles": {"sketch": settings.profiles["sketch"]}}),
        images=ScriptedImages(capabilities=Capabilities(edit=True, references=3)),
    )
    (told,) = (await house.told("/gems/options"))["profiles"]
    assert (told["edits"], told["references"], told["problem"]) == (True, 3, None)
    house.services = OwnServices(
        settings.model_copy(update={"profiles": {"sketch": Profile(mllm="sketch", images="reference:x")}})
    )
    (told,) = (await house.told("/gems/options"))["profiles"]
    assert (told["edits"], told["references"]) == (False, 0)
    assert "images_base_url" in told["problem"]


async def test_models_of_the_environment_are_a_profile_too(settings: Settings) -> None:
    house = House(settings.model_copy(update={"own_images": "sketch"}))
    told = (await house.told("/gems/options"))["profiles"]
    assert [it["name"] for it in told if it["default"]] == ["environment"]


async def test_the_schema_of_events(house: House) -> None:
    answer = await house.get("/gems/events.json")
    assert answer.headers["content-type"] == "application/schema+json"
    assert answer.json() == events_schema()
    assert "drawn" in str(answer.json())


async def test_health(house: House) -> None:
    assert (await house.told("/gems/health")) == {"status": "ready", "version": __version__}


@pytest.mark.parametrize("what", ["artifacts", "runs.sqlite"])
async def test_a_home_that_cannot_be_used_is_not_healthy(house: House, what: str) -> None:
    house.settings.home.mkdir()
    async with house.visit() as client:
        (house.settings.home / what).write_text("this is in the way" * 100)
        answer = await client.get("/gems/health")
    assert (answer.status_code, answer.json()["status"]) == (503, "unready")
    assert str(house.settings.home) not in answer.text


async def test_a_full_disk_is_not_healthy(house: House) -> None:
    house.services.__dict__["store"] = FileArtifacts(house.settings.home / "artifacts", room=2**62)
    assert (await house.get("/gems/health")).status_code == 503


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("cannot read /home/anna/.gems/artifacts/ab/x.png", "cannot read x.png"),
        ("/home/anna/my/SKILL.md:3: no name", "SKILL.md:3: no name"),
        (r"C:\Users\anna\x.png is damaged", "x.png is damaged"),
        ("at http://anna:pw@host:8000/v1: no answer", "at (address): no answer"),
        ("see postgresql://u:p@db/gems", "see (address)"),
        (
            "Connect call failed ('127.0.0.1', 8000) to localhost:11434",
            "Connect call failed ('(address)', 8000) to (address)",
        ),
        ("red and/or blue, 1/2 of it; 16:9; file ~/x/y.png", "red and/or blue, 1/2 of it; 16:9; file y.png"),
        ("the key sk-abcdefgh123 is wrong", "the key *** is wrong"),
    ],
)
def test_paths_and_addresses_stay_untold(words: str, shown: str) -> None:
    assert untold(words) == shown


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("sketch", "sketch"),
        ("openai:gpt-5-mini", "openai:gpt-5-mini"),
        ("openai:qwen3-vl:8b", "openai:qwen3-vl:8b"),
        ("diffusers:stabilityai/sd-turbo", "diffusers:stabilityai/sd-turbo"),
        ("diffusers:/srv/models/x.safetensors", "diffusers:x.safetensors"),
        ("diffusers:~/models/x", "diffusers:x"),
        (r"diffusers:C:\models\x", "diffusers:x"),
        ("comfyui:flows/mine/flow.json", "comfyui:flow.json"),
    ],
)
def test_a_model_that_is_a_file_is_shown_by_its_name(name: str, shown: str) -> None:
    assert model_name(name) == shown
