"""Weights as they lie on a disk: where the cache is, what an index says, which files are weights, and what is wrong."""

from __future__ import annotations

import io
import json
import os
import random
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from gems.backends.local.files import names_in, read_json, read_weight_file, stamp_of
from gems.backends.local.gguf_header import read_gguf
from gems.backends.local.hub_cache import Repository, find_snapshot, hub_cache, is_hub_id, is_revision
from gems.backends.local.model_index import Component, parse_index
from gems.backends.local.orders import LocalModel
from gems.backends.local.safetensors_header import MOST_HEADER_BYTES, read_safetensors
from gems.backends.local.tensors import DamagedWeights, Tensor, main_dtype
from gems.backends.local.weight_names import WeightNames, choose_variant, weight_names
from gems.backends.local.weights import find_weights
from gems.core.errors import GemsConfigError

ID = "acme/model"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
REMEDY = "copy it again"
IS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


# The cache


@pytest.mark.parametrize(
    ("env", "folder"),
    [
        ({}, "~/.cache/huggingface/hub"),
        ({"XDG_CACHE_HOME": "/x"}, "/x/huggingface/hub"),
        ({"HF_HOME": "/hf", "XDG_CACHE_HOME": "/x"}, "/hf/hub"),
        ({"HUGGINGFACE_HUB_CACHE": "/old", "HF_HOME": "/hf"}, "/old"),
        ({"HF_HUB_CACHE": "/new", "HUGGINGFACE_HUB_CACHE": "/old"}, "/new"),
        ({"HF_HOME": "~/hf"}, "~/hf/hub"),
    ],
)
def test_the_cache_is_where_hugging_face_has_it(env: dict[str, str], folder: str) -> None:
    assert hub_cache(env) == Path(folder).expanduser()


def test_variables_within_the_cache_are_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISK", "/big")
    assert hub_cache({"HF_HUB_CACHE": "$DISK/hub"}) == Path("/big/hub")


def test_ids_and_revisions_stay_within_the_cache() -> None:
    assert all(map(is_hub_id, ("acme/model", "stabilityai/stable-diffusion-xl-base-1.0", "a/b_c.d")))
    wrong = ("model", "/etc/passwd", "a/b/c", "../a/b", "a/..", "a--b/c", "a/b\n", "-a/b", "a b/c", "")
    assert not any(map(is_hub_id, wrong))
    assert all(map(is_revision, ("main", "v1.0", "refs/pr/1", COMMIT)))
    assert not any(map(is_revision, ("", "..", "a/../b", "/main", "main/", "a//b", "a\\b", "main\n")))


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    """One that is in the cache, its main branch at a commit."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    found = Repository(ID, hub_cache())
    found.snapshot(COMMIT).mkdir(parents=True)
    found.ref("main").parent.mkdir(parents=True)
    found.ref("main").write_text(f"{COMMIT}\n")
    return found


def test_a_snapshot_is_found_by_branch_and_by_commit(repository: Repository) -> None:
    assert find_snapshot(ID, None).folder == repository.snapshot(COMMIT)
    assert find_snapshot(ID, COMMIT).commit == COMMIT
    assert find_snapshot(ID, "main", configs_only=True).remedy == "run `gems pull acme/model --configs-only`"


def test_what_is_not_in_the_cache_is_said_with_the_command_for_it(repository: Repository) -> None:
    for name, revision, said in [
        ("acme/other", None, r"neither a folder here nor in the Hugging Face cache .*: run `gems pull acme/other`$"),
        (ID, "v2", r"revision 'v2' of 'acme/model' is not on this machine: run `gems pull acme/model --revision v2`$"),
        (ID, "f" * 40, "is not on this machine"),
        (ID, "../../etc", "local.revision is '../../etc'"),
        ("ACME/Model", None, "'ACME/Model' is not on this machine, but 'acme/model' is: write it so"),
    ]:
        with pytest.raises(GemsConfigError, match=said):
            find_snapshot(name, revision)


@pytest.mark.parametrize("ref", [b"", b"main", b"../../..", COMMIT[:39].encode(), b"\xff" * 40, b"f" * 40])
def test_a_name_that_points_to_no_commit_here_is_none(ref: bytes, repository: Repository) -> None:
    repository.ref("main").write_bytes(ref)
    with pytest.raises(GemsConfigError, match="the main branch of 'acme/model' is not on this machine"):
        find_snapshot(ID, None)


def test_an_unfinished_download_is_seen(repository: Repository) -> None:
    assert not repository.is_downloading
    repository.blobs.mkdir()
    (repository.blobs / f"{'a' * 64}.1234.incomplete").touch()
    assert repository.is_downloading


# The index


def index(**fields: object) -> dict[str, object]:
    return {"_class_name": "ZImagePipeline", "vae": ["diffusers", "AutoencoderKL"]} | fields


def test_an_index_gives_the_components_that_are_there() -> None:
    found = parse_index(
        index(
            _diffusers_version="0.42.1",
            transformer=["diffusers", "ZImageTransformer2DModel"],
            tokenizer=["transformers", "T5TokenizerFast"],
            scheduler=["diffusers", "EulerDiscreteScheduler"],
            feature_extractor=["transformers", "CLIPImageProcessor"],
            safety_checker=["stable_diffusion", "StableDiffusionSafetyChecker"],
            image_encoder=[None, None],
            requires_safety_checker=False,
            sizes=[1, 2],
        ),
        ID,
    )
    kinds = {name: it.kind for name, it in found.components.items()}
    assert kinds == {
        "vae": "model",
        "transformer": "model",
        "tokenizer": "tokenizer",
        "scheduler": "scheduler",
        "feature_extractor": "processor",
        "safety_checker": "model",
    }
    assert "safety_checker" not in found.needed
    assert found.denoiser == "transformer"
    assert parse_index(index(unet=["diffusers", "UNet2DConditionModel"]), ID).denoiser == "unet"
    assert parse_index(index(), ID).denoiser is None


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({}, "names no pipeline class"),
        ({"_class_name": 5}, "names no pipeline class"),
        ({"_class_name": "os.system"}, "names no pipeline class"),
        ({"_class_name": "ZImagePipeline"}, "names no components"),
        ({"_class_name": ["pipeline", "Own"]}, "needs code that comes with it .its pipeline's class is one of its own"),
        (index(custom_pipeline="own"), "needs code that comes with it"),
        (index(vae=["own_module", "Own"]), "needs code that comes with it .'vae' is of the library 'own_module'"),
        (index(vae=["../pipelines", "Own"]), "needs code that comes with it"),
        (index(vae=["diffusers", "a.b"]), "has a component 'vae' that cannot be"),
        (index(**{"../vae": ["diffusers", "AutoencoderKL"]}), "has a component '../vae' that cannot be"),
    ],
)
def test_an_index_that_names_no_pipeline_or_code_of_its_own_is_refused(content: dict[str, object], said: str) -> None:
    with pytest.raises(GemsConfigError, match=said):
        parse_index(content, ID)


# Names of weights

SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
INDEXED = (*SHARDS, "model.safetensors.index.json")


@pytest.mark.parametrize(
    ("names", "library", "variant", "expected"),
    [
        (["model.safetensors"], "transformers", None, WeightNames(("model.safetensors",))),
        (["model.safetensors"], "diffusers", None, None),
        (["diffusion_pytorch_model.safetensors"], "transformers", None, None),
        (["model.safetensors"], "stable_diffusion", None, WeightNames(("model.safetensors",))),
        (["pytorch_model.bin", "model.onnx", "flax_model.msgpack"], "transformers", None, None),
        (["model.safetensors"], "transformers", "fp16", WeightNames(("model.safetensors",))),
        (
            ["model.safetensors", "model.fp16.safetensors"],
            "transformers",
            "fp16",
            WeightNames(("model.fp16.safetensors",), None, "fp16"),
        ),
        (INDEXED, "transformers", None, WeightNames(SHARDS, "model.safetensors.index.json")),
        ([*INDEXED, "model.safetensors"], "transformers", None, WeightNames(("model.safetensors",))),
        (
            ["model.fp16-00001-of-00001.safetensors", "model.safetensors.index.fp16.json"],
            "transformers",
            "fp16",
            WeightNames(("model.fp16-00001-of-00001.safetensors",), "model.safetensors.index.fp16.json", "fp16"),
        ),
        (
            ["model-00001-of-00001.fp16.safetensors", "model.safetensors.index.fp16.json"],
            "transformers",
            "fp16",
            WeightNames(("model-00001-of-00001.fp16.safetensors",), "model.safetensors.index.fp16.json", "fp16"),
        ),
        (["xmodel.safetensors", "model.safetensors.bak"], "transformers", None, None),
    ],
)
def test_weights_are_known_by_their_names(
    names: list[str], library: str, variant: str | None, expected: WeightNames | None
) -> None:
    assert weight_names(names, library, variant) == expected


def test_diffusers_prefers_shards_to_a_single_file() -> None:
    stem = "diffusion_pytorch_model"
    names = [f"{stem}.safetensors", f"{stem}-00001-of-00001.safetensors", f"{stem}.safetensors.index.json"]
    assert weight_names(names, "diffusers") == WeightNames((names[1],), names[2])


def test_what_is_missing_of_shards_is_told_by_their_names() -> None:
    def missing(*names: str) -> tuple[str, ...]:
        found = weight_names(names, "transformers")
        assert found is not None
        return found.missing

    assert missing("model.safetensors") == ()
    assert missing(*INDEXED) == ()
    assert missing(INDEXED[1], INDEXED[2]) == ("shard 1 of 2",)
    assert missing(INDEXED[0], INDEXED[1]) == ("the index of the shards",)
    assert missing(INDEXED[2]) == ("shard 1 of 1",)


@pytest.mark.parametrize(
    ("unet", "encoder", "variant"),
    [
        (["diffusion_pytorch_model.safetensors"], ["model.safetensors"], None),
        (["diffusion_pytorch_model.fp16.safetensors"], ["model.fp16.safetensors"], "fp16"),
        (["diffusion_pytorch_model.fp16.safetensors"], ["model.safetensors"], "fp16"),
        (["diffusion_pytorch_model.fp16.safetensors"], ["model.safetensors", "pytorch_model.fp16.bin"], None),
        (["diffusion_pytorch_model.bf16.safetensors"], ["model.bf16.safetensors"], "bf16"),
        (["diffusion_pytorch_model.non_ema.safetensors"], ["model.safetensors"], None),
    ],
)
def test_a_variant_is_one_of_the_whole_pipeline(unet: list[str], encoder: list[str], variant: str | None) -> None:
    assert choose_variant([("diffusers", unet), ("transformers", encoder)]) == variant


# Headers


def safetensors(header: object, payload: bytes = b"") -> bytes:
    content = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(content).to_bytes(8, "little") + content + payload


def entry(dtype: object = "F16", shape: object = (2, 3), offsets: object = (0, 12)) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def tensors_of(content: bytes) -> tuple[Tensor, ...]:
    return read_safetensors(io.BytesIO(content), len(content))


def test_a_safetensors_header_names_tensors_types_and_counts() -> None:
    header = {
        "__metadata__": {"format": "pt"},
        "a": entry(),
        "b": entry("BF16", [], [12, 14]),
        "c": entry("F8_E4M3", [5], [14, 19]),
        "d": entry("NEW_TYPE", [4], [19, 22]),
    }
    assert tensors_of(safetensors(header, bytes(22))) == (
        Tensor("a", "fp16", 6),
        Tensor("b", "bf16", 1),
        Tensor("c", "fp8", 5),
        Tensor("d", "new_type", 4),
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no safetensors file"),
        (b"PK\x03\x04" + bytes(60), "is cut off: its header alone|no safetensors"),
        (b"\xff" * 64, "no safetensors file: it does not begin with the length"),
        ((MOST_HEADER_BYTES + 1).to_bytes(8, "little") + bytes(9), "no safetensors file"),
        ((1000).to_bytes(8, "little") + b"{}", "is cut off: its header alone has 1,000 bytes, the file 10"),
        (safetensors(b"{not json"), "its header is damaged"),
        (safetensors(b"\xff\xfe\xfd"), "its header is damaged"),
        (safetensors([]), "its header is damaged"),
        (safetensors(b"[" * 100_000), "its header is damaged"),
        (safetensors({"a": 5}), "its header is damaged"),
        (safetensors({"a": {"dtype": "F16"}}), "its header is damaged"),
        (safetensors({"a": entry()}, bytes(11)), "is cut off: it has .* bytes of"),
        (safetensors({"a": entry()}, bytes(13)), "is damaged: it has .* where its header speaks of"),
        (safetensors({"a": entry(shape=[2, 4])}, bytes(12)), "its header is damaged"),
        (safetensors({"a": entry(shape=[-2, -3])}, bytes(12)), "its header is damaged"),
        (safetensors({"a": entry(shape=[6.0])}, bytes(12)), "its header is damaged"),
        (safetensors({"a": entry(shape=["6"])}, bytes(12)), "its header is damaged"),
        (safetensors({"a": entry(shape=[True] * 65)}, bytes(12)), "its header is damaged"),
        (safetensors({"a": entry("ODD", offsets=[0, float("inf")])}, bytes(12)), "its header is damaged"),
        (safetensors({"a": entry("ODD", shape=[float("inf")])}, bytes(12)), "its header is damaged"),
        (safetensors({"a": entry(offsets=[12, 0])}, bytes(12)), "its header is damaged"),
        (safetensors({"a": entry(offsets=[0, 4, 12])}, bytes(12)), "its header is damaged"),
        (safetensors({"a": entry(dtype=["F16"])}, bytes(12)), "its header is damaged"),
        (safetensors({"a": entry(dtype=5)}, bytes(12)), "its header is damaged"),
        (safetensors({"a": entry(shape=[10**18] * 8)}, bytes(12)), "its header is damaged"),
    ],
)
def test_a_damaged_safetensors_file_is_no_file(content: bytes, said: str) -> None:
    with pytest.raises(DamagedWeights, match=said):
        tensors_of(content)


def text(value: str | bytes) -> bytes:
    content = value if isinstance(value, bytes) else value.encode()
    return struct.pack("<Q", len(content)) + content


def gguf_tensor(name: str, sides: list[int], kind: int, offset: int) -> bytes:
    return text(name) + struct.pack(f"<I{len(sides)}QIQ", len(sides), *sides, kind, offset)


def gguf(*tensors: bytes, pairs: tuple[bytes, ...] = (), payload: int = 0, align: int = 32, version: int = 3) -> bytes:
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(pairs)) + b"".join(pairs) + b"".join(tensors)
    return head.ljust(-(-len(head) // align) * align, b"\0") + bytes(payload)


def gguf_tensors(content: bytes) -> tuple[Tensor, ...]:
    return read_gguf(io.BytesIO(content), len(content))


PAIRS = (
    text("general.architecture") + struct.pack("<I", 8) + text("lumina2"),
    text("general.alignment") + struct.pack("<II", 4, 64),
    text("a.float") + struct.pack("<If", 6, 1.5),
    text("a.numbers") + struct.pack("<IIQ3i", 9, 5, 3, 1, 2, 3),
    text("a.words") + struct.pack("<IIQ", 9, 8, 2) + text("x") + text("yz"),
)


def test_a_gguf_header_names_tensors_types_and_counts() -> None:
    # Two blocks of 256 weights in 144 bytes each; then 8 of two bytes, at the next multiple of 64.
    content = gguf(
        gguf_tensor("blocks.0.weight", [256, 2], 12, 0),
        gguf_tensor("norm", [8], 1, 320),
        pairs=PAIRS,
        payload=336,
        align=64,
    )
    assert gguf_tensors(content) == (Tensor("blocks.0.weight", "q4_k", 512), Tensor("norm", "fp16", 8))
    with pytest.raises(DamagedWeights, match="is cut off: it has"):
        gguf_tensors(content[:-1])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is cut off: it ends within its header"),
        (b"GGU", "is cut off"),
        (b"GGML" + bytes(99), "it does not begin with GGUF"),
        (gguf(gguf_tensor("a", [1], 0, 0), payload=4, version=1), "of version 1, where 2 and 3"),
        (b"GGUF" + struct.pack(">I", 3) + bytes(99), "of version"),
        (gguf(), "holds no tensors"),
        (b"GGUF" + struct.pack("<IQQ", 3, 2**60, 0), "speaks of more than a file can hold"),
        (b"GGUF" + struct.pack("<IQQ", 3, 1, 2**60), "speaks of more than a file can hold"),
        (gguf(gguf_tensor("a", [1] * 9, 0, 0), payload=4), "has 9 dimensions"),
        (gguf(gguf_tensor("a", [1], 99, 0), payload=4), "of the GGUF type 99, which diffusers cannot read"),
        (gguf(gguf_tensor("a", [2**62, 2**62], 0, 0), payload=4), "is cut off"),
        (gguf(gguf_tensor("a", [1], 0, 2**63), payload=4), "is cut off"),
        (gguf(b"", pairs=(text("k") + struct.pack("<IQ", 8, 2**63),)), "ends within its header"),
        (gguf(b"", pairs=(text("k") + struct.pack("<IIQ", 9, 8, 2**63),)), "ends within its header"),
        (gguf(b"", pairs=(text("k") + struct.pack("<IIQ", 9, 10, 2**63),)), "ends within its header"),
        (gguf(b"", pairs=(text("k") + struct.pack("<IIQ", 9, 9, 1),)), "a value in its header is of no known type"),
        (gguf(b"", pairs=(text("k") + struct.pack("<I", 77),)), "a value in its header is of no known type"),
        (gguf(b"", pairs=(struct.pack("<Q", 2**40),)), "speaks of more than a file can hold"),
    ],
)
def test_a_damaged_gguf_file_is_no_file(content: bytes, said: str) -> None:
    with pytest.raises(DamagedWeights, match=said):
        gguf_tensors(content)


@pytest.mark.parametrize("read", [tensors_of, gguf_tensors])
def test_nonsense_is_damaged_and_nothing_else(read: Callable[[bytes], tuple[Tensor, ...]]) -> None:
    """Whole files with bytes changed at random, cut off, or nothing but noise: never another exception."""
    whole = {
        tensors_of: safetensors({"a": entry(), "b": entry("BF16", [3], [12, 18])}, bytes(18)),
        gguf_tensors: gguf(gguf_tensor("a", [32], 8, 0), pairs=PAIRS[2:], payload=34),
    }[read]
    assert read(whole)
    chance = random.Random(7)
    damaged = 0
    for _ in range(3000):
        content = bytearray(whole)
        for _ in range(chance.randrange(1, 6)):
            content[chance.randrange(len(content))] = chance.randrange(256)
        del content[chance.choice([len(content), chance.randrange(len(content))]) :]
        try:
            read(bytes(content))
        except DamagedWeights:
            damaged += 1
    assert damaged > 1500
    for length in (1, 8, 9, 100, 5000):
        with pytest.raises(DamagedWeights):
            read(chance.randbytes(length))


def test_the_main_type_is_that_of_most_weights() -> None:
    assert main_dtype([Tensor("a", "q4_k", 100), Tensor("b", "fp32", 10), Tensor("c", "fp32", 20)]) == "q4_k"
    assert main_dtype([]) == ""


# Files


def test_a_weight_file_is_read_by_its_header_alone(tmp_path: Path) -> None:
    path = tmp_path / "x.SafeTensors"
    path.write_bytes(safetensors({"a": entry()}, bytes(12)))
    found = read_weight_file(path, REMEDY)
    assert found.tensors == (Tensor("a", "fp16", 6),)
    assert found.size == path.stat().st_size == stamp_of(path, REMEDY).size


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 123\n"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("x.safetensors", b"", "is empty: copy it again"),
        (
            "x.safetensors",
            LFS,
            "is a pointer of Git LFS, not the file itself: run `git lfs pull` there, or copy it again",
        ),
        ("x.gguf", LFS, "is a pointer of Git LFS"),
        ("x.safetensors", safetensors({"a": entry()}, bytes(5)), "is cut off: .*: delete it, then copy it again"),
        ("x.gguf", safetensors({"a": entry()}, bytes(12)), "does not begin with GGUF"),
        ("x.safetensors", gguf(gguf_tensor("a", [1], 0, 0), payload=4), "x.safetensors is"),
        ("x.bin", b"x", "is a pickle, which can run code"),
        ("x.CKPT", b"x", "is a pickle, which can run code"),
        ("x.onnx", b"x", "neither a .safetensors nor a .gguf file"),
    ],
)
def test_what_is_no_file_of_weights_is_said_in_one_sentence(
    name: str, content: bytes, said: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(GemsConfigError, match=said):
        read_weight_file(tmp_path / name, REMEDY)


def test_in_the_cache_the_damaged_blob_is_named(tmp_path: Path) -> None:
    blob, link = tmp_path / "blob", tmp_path / "x.safetensors"
    blob.write_bytes(b"\xff" * 40)
    link.symlink_to(blob)
    with pytest.raises(GemsConfigError, match=r"/blob is no safetensors file.*: delete it, then copy it again"):
        read_weight_file(link, REMEDY)


@pytest.mark.parametrize("read", [read_weight_file, read_json, stamp_of])
def test_links_that_lead_nowhere_are_said(read: Callable[[Path, str], object], tmp_path: Path) -> None:
    loop, lost, folder = tmp_path / "loop.safetensors", tmp_path / "lost.safetensors", tmp_path / "folder.safetensors"
    loop.symlink_to(loop)
    lost.symlink_to(tmp_path / "gone")
    folder.mkdir()
    for path, said in [(loop, "links to itself"), (lost, "is missing"), (folder, "is no file")]:
        with pytest.raises(GemsConfigError, match=f"{said}.*{REMEDY}"):
            read(path, REMEDY)
    with pytest.raises(GemsConfigError, match="is missing"):
        read(lost / "below" / "x.safetensors", REMEDY)


@pytest.mark.skipif(IS_ROOT, reason="root may read everything")
def test_files_that_may_not_be_read_are_said(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text("{}")
    path.chmod(0)
    with pytest.raises(GemsConfigError, match="cannot be read for lack of permission: let your user read it"):
        read_json(path, REMEDY)
    (tmp_path / "closed").mkdir(mode=0)
    with pytest.raises(GemsConfigError, match="lack of permission"):
        names_in(tmp_path / "closed", REMEDY)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"{", "is not JSON"),
        (b"\xff\xfe\xfd{}", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"[]", "holds no JSON object"),
        (LFS, "is a pointer of Git LFS"),
    ],
)
def test_what_is_no_json_object_is_said(content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(GemsConfigError, match=said):
        read_json(tmp_path / "config.json", REMEDY)


def test_names_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b.json").touch()
    assert names_in(tmp_path, REMEDY) == {"a", "b.json"}
    for path in (tmp_path / "none", tmp_path / "b.json"):
        with pytest.raises(GemsConfigError, match="is missing"):
            names_in(path, REMEDY)


# A pipeline's folder


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    """A folder whose weights are one number a file, the transformer's in two shards."""
    folder = tmp_path / "pipeline"
    content = index(
        transformer=["diffusers", "ZImageTransformer2DModel"],
        tokenizer=["transformers", "Qwen2Tokenizer"],
        scheduler=["diffusers", "FlowMatchEulerDiscreteScheduler"],
    )
    for name in ("vae", "transformer", "tokenizer", "scheduler"):
        (folder / name).mkdir(parents=True)
    (folder / "model_index.json").write_text(json.dumps(content))
    (folder / "scheduler" / "scheduler_config.json").write_text("{}")
    (folder / "tokenizer" / "tokenizer.json").write_text("{}")
    stem = "diffusion_pytorch_model"
    one = entry("F32", [1], [0, 4])
    for name in ("vae", "transformer"):
        (folder / name / "config.json").write_text("{}")
    (folder / "vae" / f"{stem}.safetensors").write_bytes(safetensors({"a": one}, bytes(4)))
    shards = {f"w{number}": f"{stem}-0000{number}-of-00002.safetensors" for number in (1, 2)}
    for tensor, name in shards.items():
        (folder / "transformer" / name).write_bytes(safetensors({tensor: one}, bytes(4)))
    (folder / "transformer" / f"{stem}.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    return folder


def test_a_whole_folder_is_surveyed(pipeline: Path) -> None:
    found = find_weights(LocalModel(str(pipeline)))
    assert {name: (part.parameters, part.dtype) for name, part in found.parts.items()} == {
        "vae": (1, "fp32"),
        "transformer": (2, "fp32"),
    }


SHARD = "transformer/diffusion_pytorch_model-00002-of-00002.safetensors"
SHARD_INDEX = "transformer/diffusion_pytorch_model.safetensors.index.json"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("vae/config.json", None, "config.json is missing: copy it again"),
        ("scheduler/scheduler_config.json", None, "is missing"),
        ("tokenizer/tokenizer.json", None, "is empty"),
        ("vae/diffusion_pytorch_model.safetensors", None, "the weights of vae are missing"),
        ("vae/diffusion_pytorch_model.safetensors", LFS, "is a pointer of Git LFS"),
        ("vae/diffusion_pytorch_model.safetensors", safetensors({"a": entry()}), "is cut off"),
        (SHARD, None, "of transformer is missing shard 2 of 2"),
        (SHARD_INDEX, None, "of transformer is missing the index of the shards"),
        (SHARD, safetensors({"other": entry()}, bytes(12)), "the index of transformer looks for 'w2' in"),
        (
            SHARD_INDEX,
            b'{"weight_map": {"w1": "gone.safetensors"}}',
            "looks for 'w1' in 'gone.safetensors', where it is not",
        ),
        (SHARD_INDEX, b'{"weight_map": {"w1": ["a"]}}', "looks for 'w1' in"),
        (SHARD_INDEX, b"{}", "has no weight_map"),
        ("transformer/modeling.py", b"1", "'transformer' has Python files"),
        ("model_index.json", None, "has no model_index.json"),
    ],
)
def test_what_is_missing_or_damaged_of_a_folder_is_said(
    name: str, content: bytes | None, said: str, pipeline: Path
) -> None:
    if content is None:
        (pipeline / name).unlink()
    else:
        (pipeline / name).write_bytes(content)
    with pytest.raises(GemsConfigError, match=said):
        find_weights(LocalModel(str(pipeline)))


def test_weights_that_are_pickles_only_are_never_read(pipeline: Path) -> None:
    weights = pipeline / "vae" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(GemsConfigError, match="has the weights of vae as pickles only, which can run code"):
        find_weights(LocalModel(str(pipeline)))


def test_kinds_of_components_are_known_by_their_class() -> None:
    assert Component("transformers", "T5TokenizerFast").kind == "tokenizer"
    assert Component("transformers", "SiglipImageProcessor").kind == "processor"
    assert Component("transformers", "Qwen2VLProcessor").kind == "processor"
    assert Component("diffusers", "AutoencoderKL").kind == "model"
