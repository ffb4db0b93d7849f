"""`gems pull` as a process, with Hugging Face's own client, from a hub on loopback that holds a tiny pipeline.

The first test starts new interpreters. The others fork theirs, which import the hub's client, and so read its variables, anew.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from gems.backends.local.orders import LocalModel
from gems.backends.local.weights import find_weights
from gems.core.profiles import LocalOptions
from gems.evals.loopback import HubModel, HubServer, Loopback, always, clean, exactly
from gems.evals.loopback.hub import digest
from gems.evals.loopback.log import Entry
from gems.evals.loopback.wire import Reply, Request, html_page
from gems.evals.tiny import build_tiny, write_gguf
from gems.evals.warm import Warm

GEMS = [sys.executable, "-c", "from gems.app.cli import main; main()"]
ID = "acme/tiny-z"
TOKEN = "hf_abcdefghijklmnop"
TRANSFORMER = "transformer/diffusion_pytorch_model.safetensors"

Pull = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> HubModel:
    """A pipeline as a repository has it: with a card, pickles and second copies beside it."""
    folder = build_tiny("z-image-turbo", tmp_path_factory.mktemp("tiny"))
    write_gguf(folder, folder / "tiny-Q8_0.gguf")
    (folder / "README.md").write_text("A card")
    (folder / "vae" / "diffusion_pytorch_model.bin").write_bytes(b"a pickle")
    (folder / "tiny.safetensors").write_bytes(b"a second copy")
    return HubModel.of_folder(ID, folder, card={"license": "apache-2.0"}, revisions=("main", "v1"))


@pytest.fixture
def hub(model: HubModel) -> HubServer:
    return HubServer(model, token=TOKEN)


@pytest.fixture
def server(hub: HubServer) -> Iterator[Loopback]:
    with Loopback(hub) as server:
        yield server


def environment(url: str, home: Path, extra: Mapping[str, str]) -> dict[str, str]:
    bare = {
        name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING", "TRANSFORMERS_"))
    }
    proxies = dict.fromkeys(("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"), "")
    return {**bare, **proxies, "HF_HOME": str(home), "HF_ENDPOINT": url, "COLUMNS": "200", **extra}


@pytest.fixture
def pull(server: Loopback, tmp_path: Path, warm: Warm) -> Pull:
    """Runs `gems pull` to its end."""

    def run(*arguments: str, url: str = server.url, **extra: str) -> subprocess.CompletedProcess[str]:
        return warm.run([*GEMS, "pull", *arguments], environment(url, tmp_path / "hf", extra))

    return run


@pytest.fixture
def pull_anew(server: Loopback, tmp_path: Path) -> Pull:
    """The same in an interpreter of its own."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        env = environment(server.url, tmp_path / "hf", {})
        command = [*GEMS, "pull", *arguments]
        return subprocess.run(
            command, env=env, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL, check=False
        )

    return run


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache that those processes have, for this one too."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hf" / "hub"))
    return tmp_path / "hf" / "hub"


def files_in(folder: Path) -> set[str]:
    return {it.relative_to(folder).as_posix() for it in folder.rglob("*") if it.is_file()}


def snapshot(cache: Path, model: HubModel) -> Path:
    return cache / "models--acme--tiny-z" / "snapshots" / model.commit


def test_a_whole_model_is_pulled_and_found(
    pull_anew: Pull, pull: Pull, hub: HubServer, model: HubModel, cache: Path
) -> None:
    done = pull_anew(ID, "--yes")
    assert (done.returncode, done.stderr) == (0, "")
    assert "licence   apache-2.0" in done.stdout
    assert "Downloaded." in done.stdout
    assert f'images = "diffusers:{ID}"' in done.stdout
    taken = files_in(snapshot(cache, model))
    assert taken == set(model.files) - {
        "README.md",
        "tiny-Q8_0.gguf",
        "tiny.safetensors",
        "vae/diffusion_pytorch_model.bin",
    }
    assert all((snapshot(cache, model) / name).read_bytes() == model.files[name] for name in taken)
    found = find_weights(LocalModel(ID))
    assert set(found.parts) == {"text_encoder", "transformer", "vae"}
    assert found.fingerprint == model.commit

    sent = hub.delivered.copy()
    again = pull(ID)
    assert again.returncode == 0
    assert "All of it is here already: nothing was downloaded." in again.stdout
    # Only the index is read, to know what is needed.
    index = digest("model_index.json", model.files["model_index.json"])
    assert set(hub.delivered - sent) == {index}


ASK_AGAIN = """
import sys
from huggingface_hub import hf_hub_download, snapshot_download
print(snapshot_download(sys.argv[1], local_files_only=True))
for name in sys.argv[2:]:
    print(hf_hub_download(sys.argv[1], name))
"""


def test_hugging_faces_own_client_takes_the_cache_for_its_own(
    pull: Pull, hub: HubServer, server: Loopback, model: HubModel, cache: Path, tmp_path: Path, warm: Warm
) -> None:
    assert pull(ID, "--yes").returncode == 0
    sent = hub.delivered.copy()
    names = sorted(files_in(snapshot(cache, model)))
    env = environment(server.url, tmp_path / "hf", {})
    asked = warm.run([sys.executable, "-c", ASK_AGAIN, ID, *names], env)
    assert asked.returncode == 0, asked.stderr
    told = asked.stdout.split("\n")
    assert told[:-1] == [str(snapshot(cache, model)), *(str(snapshot(cache, model) / name) for name in names)]
    assert hub.delivered == sent
    assert [it.path for it in server.log.entries if it.path.endswith(TRANSFORMER)][-1:]


def test_nothing_is_downloaded_without_consent(pull: Pull, hub: HubServer, model: HubModel, cache: Path) -> None:
    refused = pull(ID)
    assert refused.returncode == 2
    assert "there is no terminal to ask on, so add --yes" in refused.stderr
    assert "diffusion_pytorch_model.safetensors" in refused.stdout
    assert not cache.exists()
    assert set(hub.delivered) == {digest("model_index.json", model.files["model_index.json"])}


def test_configs_only_takes_no_weights_and_the_rest_can_follow(pull: Pull, model: HubModel, cache: Path) -> None:
    done = pull(ID, "--configs-only", "--yes")
    assert done.returncode == 0, done.stderr
    assert f'local.base = "{ID}"' in done.stdout
    taken = files_in(snapshot(cache, model))
    assert not [name for name in taken if name.endswith(".safetensors")]
    assert "transformer/config.json" in taken
    more = pull(ID, "--without-transformer", "--yes")
    assert more.returncode == 0, more.stderr
    assert "is in the cache already" in more.stdout
    assert TRANSFORMER not in files_in(snapshot(cache, model))
    assert pull(ID, "--yes").returncode == 0
    assert set(find_weights(LocalModel(ID)).parts) == {"text_encoder", "transformer", "vae"}


def test_a_single_file_of_a_revision_stands_in_for_the_transformer(pull: Pull, model: HubModel, cache: Path) -> None:
    done = pull(ID, "tiny-Q8_0.gguf", "--revision", "v1", "--yes")
    assert done.returncode == 0, done.stderr
    path = snapshot(cache, model) / "tiny-Q8_0.gguf"
    assert f'local.transformer = "{path}"' in done.stdout
    assert pull(ID, "--without-transformer", "--revision", "v1", "--yes").returncode == 0
    options = LocalOptions(transformer=str(path), revision="v1")
    assert find_weights(LocalModel(ID, options)).parts["transformer"].dtype == "q8_0"


def test_broken_replies_are_taken_up_again(pull: Pull, hub: HubServer, model: HubModel, cache: Path) -> None:
    hub.plan = exactly("", "half", "hang_up", "503", "no_range", "500", "slow", "half")
    done = pull(ID, "--yes")
    assert (done.returncode, done.stderr) == (0, "")
    assert all(
        (snapshot(cache, model) / name).read_bytes() == model.files[name] for name in files_in(snapshot(cache, model))
    )


def test_other_bytes_are_not_kept(pull: Pull, hub: HubServer, model: HubModel, cache: Path) -> None:
    hub.plan = lambda number: "wrong_bytes" if number else ""
    done = pull(ID, "tiny-Q8_0.gguf", "--yes")
    assert done.returncode == 0, "the first reply is as it should be"
    failed = pull(ID, "--yes")
    assert failed.returncode == 2
    assert not (cache / "models--acme--tiny-z" / "blobs" / digest(TRANSFORMER, model.files[TRANSFORMER])).exists()
    assert not snapshot(cache, model).joinpath("vae").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="no process can be interrupted there as a terminal does it")
def test_what_was_interrupted_goes_on_and_no_byte_is_sent_twice(
    pull: Pull, hub: HubServer, server: Loopback, model: HubModel, cache: Path, tmp_path: Path, warm: Warm
) -> None:
    # Each reply with the large file is cut in half, so that it pauses again and again.
    hub.plan, hub.least = always("half"), 1_000_000
    blob = digest(TRANSFORMER, model.files[TRANSFORMER])
    length = len(model.files[TRANSFORMER])
    part = cache / "models--acme--tiny-z" / "blobs" / f"{blob}.gems.incomplete"
    env = environment(server.url, tmp_path / "hf", {})
    it = warm.start([*GEMS, "pull", ID, "--yes"], env)
    deadline = time.monotonic() + 60
    while not (part.exists() and part.stat().st_size > length // 4):
        assert time.monotonic() < deadline
        assert it.poll() is None, it.out + it.err
        time.sleep(0.02)
    it.send_signal(signal.SIGINT)
    ended = it.done()
    assert ended.returncode == 130
    assert "What has arrived is kept: run it again, and it goes on from there." in ended.stdout
    assert "Stopped." in ended.stderr
    kept = part.stat().st_size
    # What was on its way when the signal came is lost.
    on_its_way = hub.delivered[blob] - kept
    assert length // 4 < kept < length
    assert 0 <= on_its_way <= length // 4
    assert not snapshot(cache, model).exists()

    hub.plan = clean
    done = pull(ID, "--yes")
    assert (done.returncode, done.stderr) == (0, "")
    assert "is in the cache already" in done.stdout
    assert hub.delivered[blob] == length + on_its_way
    assert find_weights(LocalModel(ID)).fingerprint == model.commit


def test_a_gated_model_opens_to_its_token_alone(model: HubModel, pull: Pull, tmp_path: Path) -> None:
    gated = HubServer(HubModel(ID, model.files, {"license": "other"}, gated=True), token=TOKEN)
    with Loopback(gated) as server:
        closed = pull(ID, "--yes", url=server.url)
        assert closed.returncode == 2
        assert f"{ID!r} is gated: accept its terms at {server.url}/{ID}, then set HF_TOKEN" in closed.stderr
        wrong = pull(ID, "--yes", url=server.url, HF_TOKEN="hf_notaccepted")
        assert wrong.returncode == 2
        assert "does not accept your token" in wrong.stderr
        assert not (tmp_path / "hf").exists() or not files_in(tmp_path / "hf")
        opened = pull(ID, "--yes", url=server.url, HF_TOKEN=TOKEN)
        assert (opened.returncode, opened.stderr) == (0, "")
        assert "access    gated, and open to your token" in opened.stdout
    assert gated.delivered[digest(TRANSFORMER, model.files[TRANSFORMER])] == len(model.files[TRANSFORMER])
    assert gated.keys_elsewhere == []
    told = closed.stdout + closed.stderr + wrong.stdout + wrong.stderr + opened.stdout + opened.stderr
    assert "hf_" not in told


def test_what_the_hub_does_not_have_is_said(pull: Pull, cache: Path) -> None:
    for arguments, said in [
        (["acme/other"], "knows no model 'acme/other' that you may see"),
        ([ID, "--revision", "v9"], "'acme/tiny-z' has no revision 'v9'"),
        ([ID, "no.gguf"], "has no file 'no.gguf': it has "),
    ]:
        ended = pull(*arguments, "--yes")
        assert ended.returncode == 2
        assert said in ended.stderr
    assert not cache.exists()


class Portal:
    """A network that answers everything with a page of its own."""

    def answer(self, request: Request, entry: Entry) -> Reply:
        return html_page()


def test_a_hub_that_cannot_be_asked_is_said(pull: Pull) -> None:
    offline = pull(ID, "--yes", HF_HUB_OFFLINE="1")
    assert (offline.returncode, "HF_HUB_OFFLINE is set" in offline.stderr) == (2, True)
    nobody = pull(ID, "--yes", url="http://127.0.0.1:9")
    assert (nobody.returncode, "http://127.0.0.1:9 cannot be reached" in nobody.stderr) == (2, True)
    with Loopback(Portal()) as portal:
        page = pull(ID, "--yes", url=portal.url)
    assert (page.returncode, "does not speak as the Hugging Face hub does" in page.stderr) == (2, True)
    odd = pull(ID, "--yes", url="huggingface.co")
    assert (odd.returncode, "HF_ENDPOINT is 'huggingface.co'" in odd.stderr) == (2, True)
