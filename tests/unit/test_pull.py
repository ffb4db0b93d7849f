"""`gems pull` without a network: which files it takes of real listings, what it says, and how bytes become a cache."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import httpx
import pytest
from huggingface_hub.hf_api import ModelInfo
from pydantic import SecretStr
from rich.console import Console

from gems.app.outcome import EXIT_DONE, EXIT_STOPPED
from gems.app.pull_command import Wanted, choose, fetch
from gems.app.pull_progress import PullProgress, short
from gems.app.pull_wording import Offer, file_lines, next_lines, offer_lines, size
from gems.backends.local.download import Download, Shelf, check_room, link, name_commit
from gems.backends.local.hub import Hub, Listing, listing_of, open_hub
from gems.backends.local.hub_cache import Repository, find_snapshot, is_revision
from gems.backends.local.hub_faults import Asked, disk_fault, refusal, unreachable
from gems.backends.local.hub_files import RemoteFile, Selection, needed_files, single_file
from gems.backends.local.model_index import parse_index
from gems.core.errors import GemsConfigError
from gems.evals.loopback.hub import digest

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "hf_abcdefghijklmnop"
ASKED = Asked("https://huggingface.co", "acme/model", "main")

Z_IMAGE = """
.gitattributes 1
README.md 9
assets/showcase.jpg 900
model_index.json 1
scheduler/scheduler_config.json 1
text_encoder/config.json 1
text_encoder/generation_config.json 1
text_encoder/model-00001-of-00003.safetensors 3957
text_encoder/model-00002-of-00003.safetensors 3987
text_encoder/model-00003-of-00003.safetensors 99
text_encoder/model.safetensors.index.json 32
tokenizer/merges.txt 1671
tokenizer/tokenizer.json 11422
tokenizer/tokenizer_config.json 9
tokenizer/vocab.json 2776
transformer/config.json 1
transformer/diffusion_pytorch_model-00001-of-00003.safetensors 9973
transformer/diffusion_pytorch_model-00002-of-00003.safetensors 9973
transformer/diffusion_pytorch_model-00003-of-00003.safetensors 4672
transformer/diffusion_pytorch_model.safetensors.index.json 49
vae/config.json 1
vae/diffusion_pytorch_model.safetensors 167
"""
SD_TURBO = """
LICENSE 8
README.md 5
model_index.json 1
sd_turbo.safetensors 5214
scheduler/scheduler_config.json 1
text_encoder/config.json 1
text_encoder/model.fp16.safetensors 680
text_encoder/model.safetensors 1361
text_encoder/pytorch_model.bin 1361
text_encoder/pytorch_model.fp16.bin 680
tokenizer/merges.txt 1
tokenizer/special_tokens_map.json 1
tokenizer/tokenizer_config.json 1
tokenizer/vocab.json 1
unet/config.json 1
unet/diffusion_pytorch_model.bin 3463
unet/diffusion_pytorch_model.fp16.bin 1731
unet/diffusion_pytorch_model.fp16.safetensors 1731
unet/diffusion_pytorch_model.safetensors 3463
vae/config.json 1
vae/diffusion_pytorch_model.fp16.safetensors 167
vae/diffusion_pytorch_model.safetensors 334
"""
FLUX = """
LICENSE.txt 1
README.md 1
ae.safetensors 335
flux1-schnell.safetensors 23782
model_index.json 1
scheduler/scheduler_config.json 1
text_encoder/config.json 1
text_encoder/model.safetensors 246
text_encoder_2/config.json 1
text_encoder_2/model-00001-of-00002.safetensors 4994
text_encoder_2/model-00002-of-00002.safetensors 4530
text_encoder_2/model.safetensors.index.json 19
tokenizer/merges.txt 1
tokenizer/vocab.json 1
tokenizer_2/special_tokens_map.json 1
tokenizer_2/spiece.model 791
tokenizer_2/tokenizer.json 2424
transformer/config.json 1
transformer/diffusion_pytorch_model-00001-of-00003.safetensors 9962
transformer/diffusion_pytorch_model-00002-of-00003.safetensors 9949
transformer/diffusion_pytorch_model-00003-of-00003.safetensors 3870
transformer/diffusion_pytorch_model.safetensors.index.json 121
vae/config.json 1
vae/diffusion_pytorch_model.safetensors 167
"""
SDXL = """
01.png 800
model_index.json 1
scheduler/scheduler_config.json 1
sd_xl_base_1.0.safetensors 6938
sd_xl_base_1.0_0.9vae.safetensors 6938
sd_xl_offset_example-lora_1.0.safetensors 49
text_encoder/config.json 1
text_encoder/flax_model.msgpack 492
text_encoder/model.fp16.safetensors 246
text_encoder/model.onnx 492
text_encoder/model.safetensors 492
text_encoder/openvino_model.bin 492
text_encoder/openvino_model.xml 1
text_encoder_2/config.json 1
text_encoder_2/flax_model.msgpack 2778
text_encoder_2/model.fp16.safetensors 1389
text_encoder_2/model.onnx 1
text_encoder_2/model.onnx_data 2778
text_encoder_2/model.safetensors 2778
text_encoder_2/openvino_model.bin 2778
text_encoder_2/openvino_model.xml 1
tokenizer/merges.txt 1
tokenizer/vocab.json 1
tokenizer_2/merges.txt 1
tokenizer_2/vocab.json 1
unet/config.json 1
unet/diffusion_flax_model.msgpack 10270
unet/diffusion_pytorch_model.fp16.safetensors 5135
unet/diffusion_pytorch_model.safetensors 10270
unet/model.onnx 7
unet/model.onnx_data 10270
unet/openvino_model.bin 10270
unet/openvino_model.xml 22
vae/config.json 1
vae/diffusion_flax_model.msgpack 334
vae/diffusion_pytorch_model.fp16.safetensors 167
vae/diffusion_pytorch_model.safetensors 334
vae_1_0/config.json 1
vae_1_0/diffusion_pytorch_model.safetensors 334
vae_decoder/config.json 1
vae_decoder/model.onnx 198
"""
CLIP = ["transformers", "CLIPTextModel"]
CLIP_TOKENIZER = ["transformers", "CLIPTokenizer"]
INDICES = {
    Z_IMAGE: {
        "_class_name": "ZImagePipeline",
        "_diffusers_version": "0.36.0.dev0",
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
        "text_encoder": ["transformers", "Qwen3Model"],
        "tokenizer": ["transformers", "Qwen2Tokenizer"],
        "transformer": ["diffusers", "ZImageTransformer2DModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    },
    SD_TURBO: {
        "_class_name": "StableDiffusionPipeline",
        "feature_extractor": [None, None],
        "requires_safety_checker": False,
        "safety_checker": [None, None],
        "scheduler": ["diffusers", "EulerDiscreteScheduler"],
        "text_encoder": CLIP,
        "tokenizer": CLIP_TOKENIZER,
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    },
    FLUX: {
        "_class_name": "FluxPipeline",
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
        "text_encoder": CLIP,
        "text_encoder_2": ["transformers", "T5EncoderModel"],
        "tokenizer": CLIP_TOKENIZER,
        "tokenizer_2": ["transformers", "T5TokenizerFast"],
        "transformer": ["diffusers", "FluxTransformer2DModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    },
    SDXL: {
        "_class_name": "StableDiffusionXLPipeline",
        "force_zeros_for_empty_prompt": True,
        "scheduler": ["diffusers", "EulerDiscreteScheduler"],
        "text_encoder": CLIP,
        "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
        "tokenizer": CLIP_TOKENIZER,
        "tokenizer_2": CLIP_TOKENIZER,
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    },
}


def listed(text: str) -> list[RemoteFile]:
    pairs = (line.split(" ") for line in text.strip().splitlines())
    return [RemoteFile(name, int(length), hashlib.sha1(name.encode()).hexdigest()) for name, length in pairs]


def take(text: str, *, drop: Sequence[str] = (), **options: bool) -> Selection:
    files = [it for it in listed(text) if it.name not in drop]
    return needed_files("acme/model", files, parse_index(INDICES[text], "acme/model"), **options)


def names(selection: Selection) -> set[str]:
    return {it.name for it in selection.files}


def weights(selection: Selection) -> list[str]:
    return sorted(name for name in names(selection) if name.endswith(".safetensors"))


def test_z_image_is_taken_with_all_shards_and_their_indices() -> None:
    selection = take(Z_IMAGE)
    assert names(selection) == {it.name for it in listed(Z_IMAGE)} - {
        ".gitattributes",
        "README.md",
        "assets/showcase.jpg",
    }
    assert selection.variant is None


def test_of_sd_turbo_half_precision_is_taken_and_neither_pickles_nor_the_single_file() -> None:
    selection = take(SD_TURBO)
    assert selection.variant == "fp16"
    assert weights(selection) == [
        "text_encoder/model.fp16.safetensors",
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "vae/diffusion_pytorch_model.fp16.safetensors",
    ]
    assert not [name for name in names(selection) if name.endswith((".bin", "LICENSE", "README.md"))]
    assert {"tokenizer/merges.txt", "tokenizer/vocab.json", "unet/config.json", "model_index.json"} <= names(selection)


def test_of_flux_the_files_in_the_root_are_left() -> None:
    selection = take(FLUX)
    assert not {"ae.safetensors", "flux1-schnell.safetensors"} & names(selection)
    assert "tokenizer_2/spiece.model" in names(selection)
    assert sum("transformer/" in name for name in weights(selection)) == 3


def test_of_sdxl_no_other_frameworks_weights_are_taken() -> None:
    selection = take(SDXL)
    folders = {name.rpartition("/")[0] for name in names(selection)}
    assert folders == {"", "scheduler", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "unet", "vae"}
    assert {name.rpartition(".")[2] for name in names(selection)} == {"json", "txt", "safetensors"}
    assert len(weights(selection)) == 4
    assert all(".fp16." in name for name in weights(selection))


def test_a_variant_that_one_part_has_only_as_a_pickle_is_not_taken() -> None:
    selection = take(SD_TURBO, drop=["unet/diffusion_pytorch_model.fp16.safetensors"])
    assert selection.variant is None
    assert not [name for name in weights(selection) if "fp16" in name]


def test_configs_only_takes_no_weights_and_no_index_of_them() -> None:
    taken = names(take(FLUX, configs_only=True))
    assert not [name for name in taken if name.endswith((".safetensors", ".index.json"))]
    assert {"transformer/config.json", "tokenizer_2/spiece.model", "scheduler/scheduler_config.json"} <= taken


def test_the_transformer_alone_can_be_left_out() -> None:
    taken = names(take(Z_IMAGE, without_transformer=True))
    assert "transformer/config.json" in taken
    assert not [name for name in taken if name.startswith("transformer/diffusion")]
    assert "text_encoder/model-00003-of-00003.safetensors" in taken
    with pytest.raises(
        GemsConfigError, match=r"has no transformer .StableDiffusionPipeline.: leave --without-transformer out"
    ):
        take(SD_TURBO, without_transformer=True)


@pytest.mark.parametrize(
    ("drop", "add", "said"),
    [
        (["vae/config.json", "vae/diffusion_pytorch_model.safetensors"], "", "no folder 'vae'"),
        (["vae/config.json"], "", "no vae/config.json"),
        (
            ["transformer/diffusion_pytorch_model-00002-of-00003.safetensors"],
            "",
            "lacks of 'transformer': shard 2 of 3",
        ),
        (["text_encoder/model.safetensors.index.json"], "", "lacks of 'text_encoder': the index of the shards"),
        (["vae/diffusion_pytorch_model.safetensors"], "", "no weights of 'vae'"),
        (["vae/diffusion_pytorch_model.safetensors"], "vae/diffusion_pytorch_model.bin", "'vae' as pickles only"),
        ([], "transformer/modeling_own.py", "'transformer' has Python files"),
    ],
)
def test_what_cannot_be_loaded_is_refused_before_it_is_downloaded(drop: list[str], add: str, said: str) -> None:
    files = [it for it in listed(Z_IMAGE) if it.name not in drop] + (listed(f"{add} 5") if add else [])
    with pytest.raises(GemsConfigError, match=said):
        needed_files("acme/model", files, parse_index(INDICES[Z_IMAGE], "acme/model"))


def test_a_single_file_is_a_safetensors_or_gguf_file_that_is_there() -> None:
    files = listed("z-Q4_K_M.gguf 9\nlora/style.safetensors 2\nold.ckpt 4")
    assert names(single_file("acme/model", files, "lora/style.safetensors")) == {"lora/style.safetensors"}
    for name, said in [
        ("old.ckpt", "is a pickle"),
        ("README.md", "neither a .safetensors nor a .gguf file"),
        ("z.gguf", "no file 'z.gguf': it has z-Q4_K_M.gguf, lora/style.safetensors"),
    ]:
        with pytest.raises(GemsConfigError, match=said):
            single_file("acme/model", files, name)


def test_wanted_is_checked_before_anything_is_asked() -> None:
    for wrong, said in [
        ({"repository": "model"}, "give it as OWNER/NAME"),
        ({"repository": "../etc/passwd"}, "give it as OWNER/NAME"),
        ({"repository": "acme/model", "revision": "../../x"}, "--revision is"),
        ({"repository": "acme/model", "file": "a.gguf", "configs_only": True}, "are for whole models"),
    ]:
        with pytest.raises(GemsConfigError, match=said):
            Wanted(**wrong)
    assert is_revision("refs/pr/3")


# What the hub says


def told(**fields: object) -> ModelInfo:
    sibling = {"rfilename": "model_index.json", "size": 5, "blobId": "a" * 40}
    return ModelInfo(**({"id": "acme/model", "sha": COMMIT, "siblings": [sibling]} | fields))


def test_a_listing_has_the_digests_that_name_blobs() -> None:
    lfs = {"sha256": "b" * 64, "size": 7_000_000_000, "pointerSize": 135}
    large = {"rfilename": "vae/x.safetensors", "size": 7_000_000_000, "blobId": "c" * 40, "lfs": lfs}
    small = {"rfilename": "model_index.json", "size": 5, "blobId": "a" * 40}
    listing = listing_of(told(siblings=[large, small], gated="manual"), ASKED)
    assert listing.files == (
        RemoteFile("vae/x.safetensors", 7_000_000_000, "b" * 64),
        RemoteFile("model_index.json", 5, "a" * 40),
    )
    assert listing.gated
    assert listing.commit == COMMIT


@pytest.mark.parametrize(
    ("card", "tags", "licence", "link"),
    [
        ({"license": "apache-2.0"}, [], "apache-2.0", ""),
        ({"license": ["mit", "apache-2.0"]}, [], "mit, apache-2.0", ""),
        ({}, ["diffusers", "license:openrail++"], "openrail++", ""),
        (None, None, "", ""),
        (
            {"license": "other", "license_name": "sai-nc-community", "license_link": "LICENSE.md"},
            ["license:other"],
            "sai-nc-community",
            "https://huggingface.co/acme/model/blob/main/LICENSE.md",
        ),
        (
            {"license": "other", "license_name": "flux", "license_link": "https://bfl.ai/terms"},
            [],
            "flux",
            "https://bfl.ai/terms",
        ),
        ({"license": {"odd": 1}, "license_link": 3}, [], "", ""),
    ],
)
def test_the_licence_is_read_of_the_card(card: object, tags: object, licence: str, link: str) -> None:
    listing = listing_of(told(cardData=card, tags=tags), ASKED)
    assert (listing.licence, listing.licence_link) == (licence, link)


def test_the_hub_spells_a_name_in_its_own_way() -> None:
    assert listing_of(told(id="Acme/Model"), ASKED).id == "Acme/Model"
    # One that was renamed keeps the name by which it is asked for: settings have that.
    assert listing_of(told(id="other/model"), ASKED).id == "acme/model"


@pytest.mark.parametrize(
    "fields",
    [
        {"sha": None},
        {"sha": "main"},
        {"siblings": None},
        {"siblings": [{"rfilename": "a.json", "size": None, "blobId": "a" * 40}]},
        {"siblings": [{"rfilename": "a.json", "size": 1, "blobId": "../../etc"}]},
        {"siblings": [{"rfilename": "../a.json", "size": 1, "blobId": "a" * 40}]},
        {"siblings": [{"rfilename": "/etc/a.json", "size": 1, "blobId": "a" * 40}]},
        {"siblings": [{"rfilename": "vae\\..\\a.json", "size": 1, "blobId": "a" * 40}]},
        {"siblings": [{"rfilename": "C:/a.json", "size": 1, "blobId": "a" * 40}]},
    ],
)
def test_a_listing_that_no_hub_makes_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(GemsConfigError, match="does not speak as the Hugging Face hub does"):
        listing_of(told(**fields), ASKED)


@pytest.mark.parametrize(
    ("status", "code", "token", "said"),
    [
        (401, "GatedRepo", "", "is gated: accept its terms at https://huggingface.co/acme/model, then set HF_TOKEN"),
        (403, "GatedRepo", TOKEN, "is gated: accept its terms at .* with the account of your token"),
        (401, "RepoNotFound", "", "knows no model 'acme/model' that you may see: check the name"),
        (404, "RepoNotFound", TOKEN, "knows no model 'acme/model' that you may see"),
        (401, "", TOKEN, "does not accept your token"),
        (404, "RevisionNotFound", "", "'acme/model' has no revision 'main'"),
        (404, "EntryNotFound", "", "has no file 'vae/x' at revision 'main'"),
        (403, "", TOKEN, "does not let you read"),
        (429, "", "", "too many requests"),
        (500, "", "", "answered with status 500 .said so.: run it again later"),
    ],
)
def test_each_refusal_has_one_sentence_and_no_token(status: int, code: str, token: str, said: str) -> None:
    asked = Asked("https://huggingface.co", "acme/model", "main", SecretStr(token) if token else None)
    error = str(refusal(asked, status, code, f"said so {token}", "vae/x"))
    with pytest.raises(GemsConfigError, match=said):
        raise GemsConfigError(error)
    assert TOKEN not in error


def test_a_hub_out_of_reach_is_told_from_a_name_without_address() -> None:
    lost = str(unreachable(ASKED, OSError("[Errno -2] Name or service not known")))
    assert "the name of https://huggingface.co cannot be looked up" in lost
    refused = str(unreachable(ASKED, OSError(f"[Errno 111] Connection refused, Bearer {TOKEN}")))
    assert "cannot be reached ([Errno 111] Connection refused" in refused
    assert TOKEN not in refused


def test_faults_of_the_disk_say_what_to_do() -> None:
    cache = Path("/cache")
    assert "the disk of /cache is full: make room" in str(disk_fault(cache, OSError(errno.ENOSPC, "No space left")))
    assert "/cache/x cannot be written to: let your user" in str(
        disk_fault(cache, PermissionError(13, "no", "/cache/x"))
    )
    assert "(Read-only file system)" in str(disk_fault(cache, OSError(errno.EROFS, "Read-only file system")))


# What is said


def offer(files: Sequence[RemoteFile], **fields: object) -> Offer:
    given = {
        "repository": "acme/model",
        "page": "https://huggingface.co/acme/model",
        "revision": "main",
        "commit": COMMIT,
        "licence": "",
        "licence_link": "",
        "gated": False,
        "files": tuple(files),
        "lacking": tuple(files),
        "to_come": sum(it.size for it in files),
        "others": 0,
        "variant": None,
        "cache": Path("/cache"),
        "free": 50 * 10**9,
    }
    return Offer(**(given | fields))


def test_the_offer_names_files_sizes_licence_and_room() -> None:
    files = [it._replace(size=it.size * 10**6) for it in take(Z_IMAGE).files]
    lines = list(offer_lines(offer(files, licence="apache-2.0", others=910)))
    text = "\n".join(lines)
    assert "revision  main (commit 01234567)" in text
    assert "licence   apache-2.0: https://huggingface.co/acme/model" in text
    assert "takes     19 files, 48.79 GB" in text
    transformer = next(line for line in lines if line.startswith("    transformer"))
    assert "24.67 GB" in transformer
    assert "diffusion_pytorch_model-*-of-00003.safetensors (3 files)" in transformer
    assert "leaves    910 bytes that is not needed" in text
    assert "cache     /cache: 48.79 GB needed, 50.00 GB free" in text
    assert "here" not in text
    assert "access" not in text


def test_the_offer_says_what_is_here_and_what_is_not_known() -> None:
    files = listed("a.json 1000\nb.safetensors 5000")
    text = "\n".join(offer_lines(offer(files, lacking=files[1:], to_come=2000, gated=True)))
    assert "here      4 kB is in the cache already" in text
    assert "licence   not stated: read https://huggingface.co/acme/model before you use it" in text
    assert "access    gated, and open to your token" in text
    known = "\n".join(offer_lines(offer(files, repository="stabilityai/sd-turbo")))
    assert "licence   Stability AI Community" in known


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 bytes"), (1, "1 byte"), (999, "999 bytes"), (12_300, "12 kB"), (3_440_000, "3.4 MB")]
)
def test_sizes_are_in_decimal_units(count: int, text: str) -> None:
    assert size(count) == text


def test_the_next_step_is_a_profile_where_one_is_built_in() -> None:
    def said(repository: str, revision: str = "main", **options: bool) -> str:
        given = {"configs_only": False, "without_transformer": False} | options
        return "\n".join(next_lines(repository, revision, **given))

    assert 'gems run --profile z-image-turbo "' in said("Tongyi-MAI/Z-Image-Turbo")
    assert 'images = "diffusers:acme/model"' in said("acme/model")
    assert 'local.revision = "v2"' in said("Tongyi-MAI/Z-Image-Turbo", "v2")
    assert 'local.base = "acme/model"' in said("acme/model", configs_only=True)
    assert "local.transformer = " in said("acme/model", without_transformer=True)


def test_without_a_terminal_progress_is_a_line_for_each_tenth() -> None:
    console = Console(file=io.StringIO(), width=100)
    one, two = listed("a.safetensors 600\nb.safetensors 400")
    with PullProgress(console, [one, two]) as progress:
        for have in range(0, 601, 10):
            progress.told(one, have)
        progress.told(two, 400)
    lines = console.file.getvalue().split("\n")[:-1]
    assert [line.split()[0] for line in lines] == ["10%", "20%", "30%", "40%", "50%", "60%", "100%"]
    assert lines[-1].endswith("1 kB of 1 kB")


def test_what_was_begun_is_no_progress_of_this_time() -> None:
    console = Console(file=io.StringIO(), width=100)
    (one,) = listed("a.safetensors 1000")
    with PullProgress(console, [one], {one.digest: 550}) as progress:
        progress.told(one, 550)
        progress.told(one, 610)
    assert console.file.getvalue() == "   60%  610 bytes of 1 kB\n"


def test_a_terminal_shows_bars_with_short_names() -> None:
    console = Console(file=io.StringIO(), width=80, force_terminal=True)
    name = "transformer/diffusion_pytorch_model-00001-of-00003.safetensors"
    assert short(name) == "transformer/d…00001-of-00003"
    assert short("vae/config.json") == "vae/config"
    files = listed(f"{name} 9000000\nvae/config.json 500")
    with PullProgress(console, files) as progress:
        progress.told(files[0], 3_000_000)
    shown = console.file.getvalue()
    assert "transformer/d…00001-of-00003" in shown
    assert "3.0/9.0 MB" in shown


# Bytes


class Listed(Hub):
    """A hub whose listing is given, and whose files come from a function."""

    def __init__(self, files: dict[str, bytes], reply: Callable[[httpx.Request], httpx.Response] | None = None) -> None:
        self.files = files
        self.asked_for: list[httpx.Request] = []
        self._reply = reply
        client = httpx.Client(transport=httpx.MockTransport(self._answer), follow_redirects=True)
        super().__init__("https://hub.test", SecretStr(TOKEN), client)

    def listing(self, repository: str, revision: str) -> Listing:
        listed = [RemoteFile(name, len(content), digest(name, content)) for name, content in self.files.items()]
        return Listing(repository, COMMIT, tuple(listed))

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.asked_for.append(request)
        if self._reply is not None:
            return self._reply(request)
        content = self.files[request.url.path.partition(f"/{COMMIT}/")[2]]
        if "range" not in request.headers:
            return httpx.Response(200, content=content)
        start = int(request.headers["range"].removeprefix("bytes=").removesuffix("-"))
        where = f"bytes {start}-{len(content) - 1}/{len(content)}"
        return httpx.Response(206, content=content[start:], headers={"Content-Range": where})


CONTENT = bytes(range(256)) * 40
NAME = "vae/x.safetensors"


def arrive(hub: Listed, cache: Path, told: Callable[[RemoteFile, int], None] = lambda *_: None) -> Shelf:
    listing = hub.listing("acme/model", "main")
    shelf = Shelf(Repository(listing.id, cache), listing.commit)
    Download(hub, listing, shelf, told, pauses=(0.0, 0.0)).run(shelf.lacking(listing.files))
    link(shelf, listing.files)
    return shelf


def test_a_file_goes_on_from_where_it_stopped(tmp_path: Path) -> None:
    hub = Listed({NAME: CONTENT, "config.json": b"{}"})
    file = hub.listing("acme/model", "main").files[0]
    shelf = Shelf(Repository("acme/model", tmp_path), COMMIT)
    shelf.unfinished(file).parent.mkdir(parents=True)
    shelf.unfinished(file).write_bytes(CONTENT[:1000])
    assert shelf.bytes_to_come([file]) == len(CONTENT) - 1000
    heard: list[int] = []
    arrive(hub, tmp_path, lambda of, have: heard.append(have) if of == file else None)
    assert [it.headers.get("range") for it in hub.asked_for if it.url.path.endswith(NAME)] == ["bytes=1000-"]
    assert shelf.pointer(file).read_bytes() == CONTENT
    assert shelf.blob(file).read_bytes() == CONTENT
    assert not shelf.unfinished(file).exists()
    assert (heard[0], heard[-1]) == (1000, len(CONTENT))


def test_a_server_that_sends_all_of_it_again_is_not_appended(tmp_path: Path) -> None:
    hub = Listed({NAME: CONTENT}, lambda _: httpx.Response(200, content=CONTENT))
    file = hub.listing("acme/model", "main").files[0]
    shelf = Shelf(Repository("acme/model", tmp_path), COMMIT)
    shelf.unfinished(file).parent.mkdir(parents=True)
    shelf.unfinished(file).write_bytes(CONTENT[:1000])
    arrive(hub, tmp_path)
    assert shelf.blob(file).read_bytes() == CONTENT


def test_what_is_cut_off_is_asked_for_again_at_its_end(tmp_path: Path) -> None:
    def half(request: httpx.Request) -> httpx.Response:
        start = int(request.headers.get("range", "bytes=0-")[6:-1])
        where = {"Content-Range": f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}"}
        return httpx.Response(206 if start else 200, content=CONTENT[start : start + 3000], headers=where)

    hub = Listed({NAME: CONTENT}, half)
    shelf = arrive(hub, tmp_path)
    assert [it.headers.get("range") for it in hub.asked_for] == [None, "bytes=3000-", "bytes=6000-", "bytes=9000-"]
    assert shelf.has(hub.listing("acme/model", "main").files[0])


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (lambda _: httpx.Response(503), "broke off again and again .status 503.: run it again; it goes on from where"),
        (lambda _: httpx.Response(200, content=CONTENT[::-1]), "came with other bytes than the hub lists"),
        (lambda _: httpx.Response(200, content=CONTENT * 2), "came with more bytes than the hub lists"),
        (lambda _: httpx.Response(200, content=b""), "it ended after 0 of 10,240 bytes"),
        (lambda _: httpx.Response(403, headers={"X-Error-Code": "GatedRepo"}), "is gated"),
        (lambda _: httpx.Response(404, headers={"X-Error-Code": "EntryNotFound"}), f"no file '{NAME}'"),
    ],
)
def test_what_does_not_arrive_whole_is_no_file(
    reply: Callable[[httpx.Request], httpx.Response], said: str, tmp_path: Path
) -> None:
    hub = Listed({NAME: CONTENT}, reply)
    with pytest.raises(GemsConfigError, match=said):
        arrive(hub, tmp_path)
    assert not [it for it in tmp_path.rglob("*") if it.is_file() and it.stat().st_size]


def test_a_disk_that_fills_up_keeps_what_has_arrived(tmp_path: Path) -> None:
    hub = Listed({NAME: CONTENT})

    def full(_: RemoteFile, have: int) -> None:
        if have:
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(GemsConfigError, match=r"is full: make room, and run it again; it goes on"):
        arrive(hub, tmp_path, full)
    file = hub.listing("acme/model", "main").files[0]
    assert Shelf(Repository("acme/model", tmp_path), COMMIT).bytes_to_come([file]) == 0


def test_room_is_looked_for_before(tmp_path: Path) -> None:
    shelf = Shelf(Repository("acme/model", tmp_path / "not" / "made"), COMMIT)
    check_room(shelf, listed("a.safetensors 1"))
    with pytest.raises(GemsConfigError, match=r"1000000000.00 GB are needed, and .* GB are free at .*set HF_HOME"):
        check_room(shelf, [RemoteFile("a.safetensors", 10**18, "a" * 64)])
    assert not (tmp_path / "not").exists()


def test_the_same_bytes_under_two_names_arrive_once(tmp_path: Path) -> None:
    hub = Listed({"tokenizer/merges.txt": b"same", "tokenizer_2/merges.txt": b"same"})
    shelf = arrive(hub, tmp_path)
    assert len(hub.asked_for) == 1
    assert all(shelf.pointer(it).read_bytes() == b"same" for it in hub.listing("acme/model", "main").files)


def test_a_blob_that_was_cut_short_is_replaced(tmp_path: Path) -> None:
    hub = Listed({NAME: CONTENT})
    shelf = arrive(hub, tmp_path)
    file = hub.listing("acme/model", "main").files[0]
    shelf.blob(file).write_bytes(CONTENT[:7])
    assert not shelf.has(file)
    arrive(hub, tmp_path)
    assert shelf.pointer(file).read_bytes() == CONTENT


def test_a_branch_is_moved_and_a_commit_needs_no_name(tmp_path: Path) -> None:
    shelf = arrive(Listed({NAME: CONTENT}), tmp_path)
    name_commit(shelf, COMMIT)
    assert not (shelf.repository.folder / "refs").exists()
    name_commit(shelf, "refs/pr/1")
    assert shelf.repository.commit("refs/pr/1") == COMMIT
    assert [it.name for it in (shelf.repository.folder / "refs").rglob("*") if it.is_file()] == ["1"]


# The command


def run(
    files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, ask: Callable[[str], bool] | None, wanted: Wanted
) -> tuple[Callable[[], int], Listed, Callable[[], str]]:
    monkeypatch.setenv("HF_HUB_CACHE", str(Path.cwd() / "hub"))
    hub, out = Listed(files), io.StringIO()
    console = Console(file=out, width=200)
    return lambda: fetch(wanted, hub, console, ask), hub, out.getvalue


# One tensor called x, of one number: version 3, one tensor and no pairs; name, sides, type fp32 and place; padding.
GGUF = struct.pack("<4sIQQQcIQIQ", b"GGUF", 3, 1, 0, 1, b"x", 1, 1, 0, 0).ljust(64, b"\0") + bytes(4)


def test_nothing_is_downloaded_that_nobody_agreed_to(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = Wanted("acme/model", "z.gguf")
    start, hub, said = run({"z.gguf": GGUF}, monkeypatch, lambda _: False, wanted)
    assert start() == EXIT_STOPPED
    assert said().endswith("Nothing was downloaded.\n")
    start, hub, _ = run({"z.gguf": GGUF}, monkeypatch, None, wanted)
    with pytest.raises(GemsConfigError, match="no terminal to ask on, so add --yes to download 68 bytes"):
        start()
    assert hub.asked_for == []
    assert not Path("hub").exists()


def test_a_single_file_is_named_with_what_to_write(monkeypatch: pytest.MonkeyPatch) -> None:
    questions: list[str] = []

    def agree(question: str) -> bool:
        questions.append(question)
        return True

    wanted = Wanted("acme/model", "z.gguf")
    start, _, said = run({"z.gguf": GGUF, "other.gguf": CONTENT}, monkeypatch, agree, wanted)
    assert start() == EXIT_DONE
    assert questions == ["Download 68 bytes?"]
    path = Path("hub/models--acme--model/snapshots", COMMIT, "z.gguf").absolute()
    assert f'local.transformer = "{path.as_posix()}"' in said()
    start, hub, said = run({"z.gguf": GGUF}, monkeypatch, None, wanted)
    assert start() == EXIT_DONE
    assert "All of it is here already: nothing was downloaded." in said()
    assert hub.asked_for == []


def test_a_single_file_of_the_main_branch_does_not_hide_a_whole_model(monkeypatch: pytest.MonkeyPatch) -> None:
    start, _, _ = run({"z.gguf": GGUF}, monkeypatch, lambda _: True, Wanted("acme/model", "z.gguf"))
    older = "f" * 40
    repository = Repository("acme/model", Path("hub").absolute())
    (repository.snapshot(older) / "vae").mkdir(parents=True)
    (repository.snapshot(older) / "vae" / "diffusion_pytorch_model.safetensors").write_bytes(b"x")
    repository.ref("main").parent.mkdir(parents=True)
    repository.ref("main").write_text(older)
    start()
    assert find_snapshot("acme/model", None).commit == older
    assert find_snapshot("acme/model", COMMIT).folder.joinpath("z.gguf").exists()


def lora_file(name: str) -> bytes:
    header = json.dumps({name: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(4)


def test_a_lora_is_told_from_a_model_by_its_tensors(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(lora_file("transformer.blocks.0.lora_A.weight"))
    assert f'local.loras = [{{ path = "{path.as_posix()}", scale = 1.0 }}]' in "\n".join(file_lines(path))
    path.write_bytes(lora_file("model.diffusion_model.x"))
    assert f'images = "diffusers:{path.as_posix()}"' in "\n".join(file_lines(path))


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"z.gguf": b"1", "README.md": b"1"}, "has no model_index.json.*it has z.gguf, .*gems pull acme/model FILE"),
        ({"README.md": b"1"}, "has no model_index.json.*choose another model"),
        ({"model_index.json": b"<html>"}, "is not JSON"),
        ({"model_index.json": b"[]"}, "holds no JSON object"),
        ({"model_index.json": b'{"_class_name": ["own", "Pipeline"]}'}, "needs code that comes with it"),
        ({"model_index.json": b"[" * 100_000}, "is not JSON"),
        ({"model_index.json": b" " * 1_000_001}, "has 1.0 MB: it is none"),
    ],
)
def test_what_is_no_pipeline_is_refused(files: dict[str, bytes], said: str) -> None:
    hub = Listed(files)
    with pytest.raises(GemsConfigError, match=said):
        choose(Wanted("acme/model"), hub, hub.listing("acme/model", "main"))


def test_offline_is_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(GemsConfigError, match="HF_HUB_OFFLINE is set"), open_hub():
        pass
