"""What is said of a model's files before anything of them is loaded."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from gems.backends.local.orders import LocalModel
from gems.backends.local.weights import find_weights
from gems.core.errors import GemsConfigError
from gems.core.profiles import LocalOptions, Lora
from gems.evals.tiny import write_gguf, write_lora, write_single_file, write_transformer_file

Tiny = Callable[[str], Path]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def z_image(tiny: Tiny, tmp_path: Path) -> Path:
    """A folder that may be damaged."""
    return shutil.copytree(tiny("z-image-turbo"), tmp_path / "z-image-turbo")


@pytest.fixture
def cached(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The snapshot of a model in a cache of the hub's."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    repository = tmp_path / "hub" / "models--Tongyi-MAI--Z-Image-Turbo"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    return shutil.copytree(tiny("z-image-turbo"), repository / "snapshots" / COMMIT)


def refused(words: str, source: str | Path, folder: Path = Path(), **options: object) -> None:
    with pytest.raises(GemsConfigError, match=words) as caught:
        find_weights(LocalModel(str(source), LocalOptions(**options), folder))  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_a_folder_is_taken_apart(z_image: Path) -> None:
    found = find_weights(LocalModel("z-image-turbo", folder=z_image.parent))
    assert (found.folder, found.pipeline_class, found.variant, found.unneeded) == (z_image, "ZImagePipeline", None, ())
    assert set(found.parts) == {"text_encoder", "transformer", "vae"}
    transformer = found.parts["transformer"]
    assert (transformer.class_name, transformer.dtype, transformer.is_quantized) == (
        "ZImageTransformer2DModel",
        "fp32",
        False,
    )
    stored = (z_image / "transformer" / "diffusion_pytorch_model.safetensors").stat().st_size
    assert transformer.bytes == stored
    assert 0.9 * stored < transformer.parameters * 4 < stored


def test_a_model_in_the_cache_is_known_by_its_commit(cached: Path) -> None:
    found = find_weights(LocalModel("Tongyi-MAI/Z-Image-Turbo"))
    assert (found.folder, found.fingerprint) == (cached, COMMIT)
    assert find_weights(LocalModel("Tongyi-MAI/Z-Image-Turbo", LocalOptions(revision=COMMIT))) == found


def test_what_is_not_in_the_cache_is_pulled_by_hand(cached: Path) -> None:
    refused(
        r"'acme/model' is neither a folder here nor in the Hugging Face cache .*: run `gems pull acme/model`",
        "acme/model",
    )
    refused(r"revision 'v2' .* is not on this machine: run .*--revision v2`", "Tongyi-MAI/Z-Image-Turbo", revision="v2")
    refused(r"but 'Tongyi-MAI/Z-Image-Turbo' is: write it so", "tongyi-mai/z-image-turbo")
    (cached / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    refused(r"the weights of vae are missing: run `gems pull Tongyi-MAI/Z-Image-Turbo`", "Tongyi-MAI/Z-Image-Turbo")
    (cached / "model_index.json").unlink()
    refused(r"has no model_index\.json.*: run `gems pull", "Tongyi-MAI/Z-Image-Turbo")


def test_the_fingerprint_changes_with_any_file(z_image: Path) -> None:
    def fingerprint(**options: object) -> str:
        return find_weights(LocalModel(str(z_image), LocalOptions(**options))).fingerprint  # type: ignore[arg-type]

    first = fingerprint()
    assert fingerprint() == first
    moved = shutil.copytree(z_image, z_image.parent / "moved")
    assert find_weights(LocalModel(str(moved))).fingerprint == first
    seen = {first}
    config = z_image / "scheduler" / "scheduler_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"shift": 4.0}))
    seen.add(fingerprint())
    weights = z_image / "vae" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes())
    seen.add(fingerprint())
    tokens = z_image / "tokenizer" / "tokenizer.json"
    tokens.write_text(tokens.read_text() + "\n")
    seen.add(fingerprint())
    lora = write_lora(z_image, z_image.parent / "lora.safetensors")
    seen.add(fingerprint(loras=[Lora(path=str(lora))]))
    seen.add(fingerprint(transformer=str(write_transformer_file(z_image, z_image.parent / "t.safetensors"))))
    assert len(seen) == 6


def test_a_lora_over_a_cached_model_is_part_of_its_fingerprint(cached: Path, tmp_path: Path) -> None:
    write_lora(cached, tmp_path / "lora.safetensors")
    model = LocalModel("Tongyi-MAI/Z-Image-Turbo", LocalOptions(loras=(Lora(path="lora.safetensors"),)), tmp_path)
    assert find_weights(model).fingerprint != COMMIT
    write_lora(cached, tmp_path / "lora.safetensors", seed=1)
    assert find_weights(model).fingerprint == find_weights(model).fingerprint


@pytest.mark.parametrize("writer", [write_gguf, write_transformer_file])
def test_a_transformer_of_ones_own_replaces_that_of_the_base(
    writer: Callable[[Path, Path], Path], z_image: Path
) -> None:
    whole = find_weights(LocalModel(str(z_image)))
    file = writer(z_image, z_image.parent / f"own.{'gguf' if writer is write_gguf else 'safetensors'}")
    # The base's own is not needed then.
    (z_image / "transformer" / "diffusion_pytorch_model.safetensors").unlink()
    refused("the weights of transformer are missing: copy it again", z_image)
    found = find_weights(LocalModel(str(z_image), LocalOptions(transformer=file.name), z_image.parent))
    assert found.transformer_file == file
    part = found.parts["transformer"]
    assert part.parameters == whole.parts["transformer"].parameters
    assert part.bytes == file.stat().st_size
    assert (part.is_quantized, part.dtype) == ((True, "q8_0") if writer is write_gguf else (False, "fp32"))


def test_a_whole_model_in_one_file_is_taken_apart_by_its_names(tiny: Tiny, tmp_path: Path) -> None:
    base = tiny("sdxl")
    write_single_file(base, tmp_path / "anime.safetensors")
    found = find_weights(LocalModel("anime.safetensors", LocalOptions(base=str(base)), tmp_path))
    whole = find_weights(LocalModel(str(base)))
    assert found.single_file == tmp_path / "anime.safetensors"
    assert found.pipeline_class == "StableDiffusionXLPipeline"
    assert {name: part.parameters for name, part in found.parts.items()} == {
        name: part.parameters for name, part in whole.parts.items()
    }
    assert sum(part.bytes for part in found.parts.values()) == pytest.approx(found.single_file.stat().st_size, abs=8)


def test_the_base_of_a_single_file_is_told_by_its_name(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    for name in ("my_sdxl_v2.safetensors", "cats.safetensors"):
        write_single_file(tiny("sdxl"), tmp_path / name)
    refused(
        r"'stabilityai/stable-diffusion-xl-base-1\.0' is neither .*: run `gems pull stabilityai/stable-diffusion-xl-base-1\.0 "
        r"--configs-only`",
        tmp_path / "my_sdxl_v2.safetensors",
    )
    refused(
        r"nothing tells which pipeline 'cats\.safetensors' belongs to: set local\.base", tmp_path / "cats.safetensors"
    )


def test_files_that_hold_something_else_than_they_should(z_image: Path, tmp_path: Path) -> None:
    alone = write_transformer_file(z_image, tmp_path / "alone.safetensors")
    refused(r"is no whole model in one file: it lacks a transformer.*local\.transformer", alone, base=str(z_image))
    gguf = write_gguf(z_image, tmp_path / "alone.gguf")
    refused(r"holds a transformer alone: name the model it belongs to", gguf)
    refused(r"is a whole model in one file: name a folder", alone, transformer=str(gguf), base=str(z_image))
    refused("is a pickle, which can run code", tmp_path / "model.ckpt")
    refused("is missing: check the path", tmp_path / "gone.safetensors")
    refused(r"is no LoRA that diffusers reads", z_image, loras=[Lora(path=str(gguf))])
    refused(
        r"gone\.safetensors is missing: check the path", z_image, loras=[Lora(path=str(tmp_path / "gone.safetensors"))]
    )
    refused(r"own\.gguf is missing: check the path", z_image, tmp_path, transformer="own.gguf")


def test_settings_that_mean_nothing_there(tiny: Tiny) -> None:
    refused("local.revision is set, but .* is a folder", tiny("sd-turbo"), revision="main")
    refused("local.base is set, but .* is no single file", tiny("sd-turbo"), base="stabilityai/sd-turbo")


def test_a_transformer_for_a_model_that_has_none(tiny: Tiny, z_image: Path, tmp_path: Path) -> None:
    gguf = write_gguf(z_image, tmp_path / "own.gguf")
    refused(
        r"local\.transformer is set, but .* has no transformer \(StableDiffusion",
        tiny("sd-turbo"),
        transformer=str(gguf),
    )


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("no/such/folder", r"there is no '.*no/such/folder': check the path"),
        ("./x/y", r"there is no '.*x/y': check the path"),
        ("notes.txt", "is neither a folder nor a .safetensors file"),
        ("empty", r"has no model_index\.json, .*: name the folder of a diffusers pipeline$"),
        ("loose", r"name the folder of a diffusers pipeline, or one of its files \(a\.safetensors\)"),
        ("~nobody/x", r"there is no|cannot"),
    ],
)
def test_places_that_are_no_model(source: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no model")
    (tmp_path / "empty").mkdir()
    (tmp_path / "loose").mkdir()
    (tmp_path / "loose" / "a.safetensors").write_bytes(b"")
    refused(words, source, tmp_path)


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _point(path: Path) -> None:
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n")


def _pickle(path: Path) -> None:
    path.rename(path.with_suffix(".bin"))


def _shard(path: Path) -> None:
    path.rename(path.with_name("diffusion_pytorch_model-00001-of-00002.safetensors"))
    path.with_name("diffusion_pytorch_model.safetensors.index.json").write_text('{"weight_map": {}}')


def _misindex(path: Path) -> None:
    shard = path.rename(path.with_name("diffusion_pytorch_model-00001-of-00001.safetensors"))
    index = json.dumps({"weight_map": {"no.such.weight": shard.name}})
    path.with_name("diffusion_pytorch_model.safetensors.index.json").write_text(index)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (
            _truncate,
            r"diffusion_pytorch_model\.safetensors is cut off: it has [\d,]+ bytes of [\d,]+: delete it, then copy",
        ),
        (_point, "is a pointer of Git LFS"),
        (_pickle, "has the weights of transformer as pickles only, which can run code"),
        (_shard, "of transformer is missing shard 2 of 2: copy it again"),
        (_misindex, "the index of transformer looks for 'no.such.weight' in 'diffusion_pytorch_model-00001-of-00001"),
        (Path.unlink, "the weights of transformer are missing: copy it again"),
        (lambda path: path.write_bytes(b""), "is empty: copy it again"),
        (lambda path: path.write_bytes(b"\xff" * 999), "is no safetensors file"),
        (lambda path: path.with_name("config.json").unlink(), r"transformer/config\.json is missing"),
        (lambda path: path.with_name("config.json").write_text("{"), r"transformer/config\.json is not JSON"),
        (
            lambda path: path.with_name("adapter_config.json").write_text("{}"),
            "adapter_config.json would lay other weights",
        ),
        (lambda path: path.with_name("model.py").write_text("boom()"), "'transformer' has Python files"),
        (lambda path: shutil.rmtree(path.parent), "transformer is missing: copy it again"),
        (lambda path: shutil.rmtree(path.parents[1] / "scheduler"), "scheduler is missing: copy it again"),
        (
            lambda path: [it.unlink() for it in (path.parents[1] / "tokenizer").iterdir()],
            "tokenizer is empty: copy it again",
        ),
    ],
)
def test_damage_is_told_with_a_remedy(damage: Callable[[Path], object], words: str, z_image: Path) -> None:
    damage(z_image / "transformer" / "diffusion_pytorch_model.safetensors")
    refused(words, z_image)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"_class_name": ["pipeline", "MyPipeline"]}, "needs code that comes with it"),
        ({"_class_name": None}, "names no pipeline class"),
        ({"vae": ["my_vae", "Autoencoder"]}, "needs code that comes with it .*'my_vae'"),
        ({"../../etc": ["diffusers", "AutoencoderKL"]}, "has a component '../../etc' that cannot be"),
    ],
)
def test_an_index_that_asks_for_code_or_for_nonsense(change: dict[str, object], words: str, z_image: Path) -> None:
    path = z_image / "model_index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    refused(words, z_image)


def test_a_checker_without_weights_is_left_out(tiny: Tiny, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny("sd-turbo"), tmp_path / "sd")
    path = folder / "model_index.json"
    checker = {"safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"]}
    path.write_text(json.dumps(json.loads(path.read_text()) | checker))
    assert find_weights(LocalModel(str(folder))).unneeded == ("safety_checker",)
    assert "safety_checker" not in find_weights(LocalModel(str(folder))).parts


def test_weights_of_half_the_size_are_preferred(tiny: Tiny, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny("sd-turbo"), tmp_path / "sd")
    for name in ("unet", "vae"):
        path = folder / name / "diffusion_pytorch_model.safetensors"
        shutil.copy(path, path.with_name("diffusion_pytorch_model.fp16.safetensors"))
        path.unlink()
    assert find_weights(LocalModel(str(folder))).variant == "fp16"


def test_looking_loads_no_torch(z_image: Path) -> None:
    import subprocess
    import sys

    code = (
        "import sys; from gems.backends.local.orders import LocalModel; "
        "from gems.backends.local.weights import find_weights; "
        f"find_weights(LocalModel({str(z_image)!r})); "
        "print(sorted({'torch', 'diffusers', 'transformers', 'safetensors'} & set(sys.modules)))"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )
