"""How weights are laid out over memory, with a stand-in for the reading of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gems.backends.local.catalogue import KNOWN, KnownModel, best_fitting, known_model
from gems.backends.local.components import Part
from gems.backends.local.orders import LocalModel
from gems.backends.local.placement import GB, MEGAPIXEL, NF4_SHARE, WORKING, Memory, TooLarge, place
from gems.backends.local.rooms import check_room, choose_placement, refusal
from gems.backends.local.weights import Weights
from gems.core.errors import GemsConfigError
from gems.core.profiles import BUILT_IN, LocalOptions

CARDS = (8, 12, 16, 24, 48, 80)
GIB = 1024**3


def card(gib: float, host_gib: float = 64, *, quantizes: bool = True, offloads: bool = True) -> Memory:
    """A graphics card of that size, a little of which the system has taken, in a machine with that much memory free."""
    return Memory("cuda:0", int(gib * 0.94 * GIB), int(gib * GIB), int(host_gib * GIB), offloads, quantizes)


def weights_of(known: KnownModel, **changes: Any) -> Weights:
    parts = {name: Part(count, 2 * count, "bf16", name) for name, count in known.weights.items()}
    return Weights(**({"folder": Path(), "pipeline_class": "X", "parts": parts, "fingerprint": ""} | changes))


def known(profile: str) -> KnownModel:
    return next(it for it in KNOWN if it.profile == profile)


def labels(model: KnownModel) -> list[str]:
    found = []
    for gib in CARDS:
        try:
            found.append(place(model.weights, card(gib), "bf16", LocalOptions()).label)
        except TooLarge:
            found.append("no")
    return found


@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        ("qwen-image", ["no", "no", "no", "offload, nf4", "offload, bf16", "resident, bf16"]),
        (
            "z-image-turbo",
            ["offload, nf4", "offload, fp8", "offload, fp8", "offload, bf16", "resident, bf16", "resident, bf16"],
        ),
        ("flux2-klein", ["offload, fp8", "offload, bf16", "offload, bf16", *["resident, bf16"] * 3]),
        ("flux1-schnell", ["no", "offload, nf4", "offload, fp8", "offload, fp8", "resident, bf16", "resident, bf16"]),
        ("sdxl", ["offload, fp8", *["resident, bf16"] * 5]),
        ("sd-turbo", ["resident, bf16"] * 6),
    ],
)
def test_each_family_on_each_card(profile: str, expected: list[str]) -> None:
    assert labels(known(profile)) == expected


def test_every_known_model_has_a_profile_that_draws_with_it() -> None:
    assert {it.profile for it in KNOWN} == {name for name, it in BUILT_IN.items() if it.images.startswith("diffusers:")}
    for it in KNOWN:
        assert BUILT_IN[it.profile].images == f"diffusers:{it.repository}"
        assert known_model(it.repository.upper()) is it is known_model(it.profile)


def test_only_what_would_not_fit_is_stored_in_8_bits() -> None:
    placement = place(known("z-image-turbo").weights, card(16), "bf16", LocalOptions())
    assert placement.cast == {"transformer"}
    assert place(known("z-image-turbo").weights, card(12), "bf16", LocalOptions()).cast >= {"transformer"}
    asked = place(known("z-image-turbo").weights, card(80), "bf16", LocalOptions(placement="fp8"))
    assert (asked.cast, asked.how) == ({"transformer", "text_encoder"}, "offload")


def test_without_the_package_for_4_bits_a_small_card_is_told_so() -> None:
    model = known("z-image-turbo")
    assert place(model.weights, card(8), "bf16", LocalOptions()).quantized == {"transformer", "text_encoder"}
    with pytest.raises(TooLarge):
        place(model.weights, card(8, quantizes=False), "bf16", LocalOptions())


def test_a_machine_with_little_memory_cannot_hold_what_waits() -> None:
    with pytest.raises(TooLarge) as caught:
        place(known("z-image-turbo").weights, card(24, host_gib=4), "bf16", LocalOptions(placement="offload"))
    assert caught.value.of_host
    assert caught.value.needed == sum(known("z-image-turbo").weights.values()) * 2
    # In 8 bits, less waits there; also where the card itself has room enough.
    for gib in (16, 24):
        placement = place(known("z-image-turbo").weights, card(gib, host_gib=14), "bf16", LocalOptions())
        assert placement.cast == ({"transformer"} if gib == 16 else {"transformer", "text_encoder"})
    with pytest.raises(TooLarge):
        place(known("z-image-turbo").weights, card(16, host_gib=8, quantizes=False), "bf16", LocalOptions())


def test_a_device_that_cannot_offload_holds_all_or_nothing() -> None:
    macbook = Memory("mps", 30 * GB, 32 * GB, 30 * GB, can_offload=False)
    assert place(known("z-image-turbo").weights, macbook, "bf16", LocalOptions()).label == "resident, bf16"
    with pytest.raises(TooLarge) as caught:
        place(known("z-image-turbo").weights, macbook._replace(free=20 * GB), "bf16", LocalOptions())
    assert caught.value.needed > 20 * GB
    with pytest.raises(TooLarge) as caught:
        place(known("z-image-turbo").weights, macbook, "bf16", LocalOptions(placement="fp8"))
    assert caught.value.needed == 0


def test_what_is_free_decides_and_not_the_size_of_the_card() -> None:
    busy = card(48)._replace(free=14 * GB)
    assert place(known("z-image-turbo").weights, busy, "bf16", LocalOptions()).label == "offload, fp8"


def test_a_quantized_part_counts_as_it_is_stored_and_stays_so() -> None:
    weights = {"transformer": 6 * GB, "text_encoder": 4 * GB}
    fixed = frozenset({"transformer"})
    placement = place(weights, card(24), "bf16", LocalOptions(placement="fp8"), fixed=fixed)
    assert placement.cast == {"text_encoder"}
    placement = place(weights, card(80), "bf16", LocalOptions(placement="nf4"), fixed=fixed)
    assert placement.quantized == {"text_encoder"}


def test_a_gguf_file_leaves_room_for_a_resident_pipeline() -> None:
    model = known("z-image-turbo")
    plain = weights_of(model)
    q4 = Part(model.weights["transformer"], model.weights["transformer"] * 9 // 16, "q4_k", "transformer", True)
    quantized = weights_of(model, parts={**plain.parts, "transformer": q4})
    order = LocalModel("m")
    assert choose_placement(order, plain, card(24), MEGAPIXEL).label == "offload, bf16"
    assert choose_placement(order, quantized, card(24), MEGAPIXEL).label == "resident, bf16"


@pytest.mark.parametrize("kind", ["single_file", "transformer_file"])
def test_what_comes_from_one_file_is_never_quantized(kind: str) -> None:
    weights = weights_of(known("flux1-schnell"), **{kind: Path("flux.safetensors")})
    with pytest.raises(TooLarge):
        choose_placement(LocalModel("flux.safetensors"), weights, card(12), MEGAPIXEL)
    asked = LocalModel("flux.safetensors", LocalOptions(placement="nf4"))
    with pytest.raises(GemsConfigError, match=r"'nf4' cannot be had with flux\.safetensors: .*take 'fp8'"):
        choose_placement(asked, weights, card(80), MEGAPIXEL)


def test_large_pictures_need_more_and_leave_less_room_for_company() -> None:
    weights = known("z-image-turbo").weights
    one = place(weights, card(48), "bf16", LocalOptions())
    assert one.most_together(MEGAPIXEL) > one.most_together(4 * MEGAPIXEL) >= 1
    assert one.most_together(64 * 64) == one.most_together(MEGAPIXEL // 4)
    four = place(weights, card(48), "bf16", LocalOptions(), 4 * MEGAPIXEL)
    assert one.spare - four.spare == pytest.approx(3 * WORKING, abs=2)
    assert place(weights, card(24), "bf16", LocalOptions(), 4 * MEGAPIXEL).label == "offload, fp8"


def test_32_bits_take_twice_as_much() -> None:
    with pytest.raises(TooLarge):
        place(known("z-image-turbo").weights, card(24), "fp32", LocalOptions(placement="offload"))
    assert place(known("sd-turbo").weights, card(8), "fp32", LocalOptions(placement="offload")).dtype == "fp32"


def test_the_refusal_names_a_smaller_model_that_fits() -> None:
    big = known("qwen-image")
    memory = card(12, quantizes=False)
    with pytest.raises(TooLarge) as caught:
        place(big.weights, memory, "bf16", LocalOptions())
    said = str(refusal(LocalModel(big.repository), weights_of(big), memory, caught.value))
    assert said.startswith(
        "Qwen/Qwen-Image-2512 needs 25.5 GB of memory on cuda:0, and 12.1 GB are free: close what else"
    )
    assert "such as Tongyi-MAI/Z-Image-Turbo" in said


def test_where_nothing_fits_an_image_server_elsewhere_is_advised() -> None:
    tiny = card(0.5, host_gib=0.5)
    assert best_fitting(tiny) is None
    model = known("sd-turbo")
    with pytest.raises(TooLarge) as caught:
        place(model.weights, tiny, "bf16", LocalOptions())
    assert "an image server elsewhere" in str(refusal(LocalModel("x/y"), weights_of(model), tiny, caught.value))


def test_the_advice_is_smaller_than_what_was_refused() -> None:
    for model in KNOWN:
        size = sum(model.weights.values())
        advised = best_fitting(card(80), below=size)
        assert advised is None or sum(advised.weights.values()) < size
    assert best_fitting(card(80)) is KNOWN[0]


def test_whoever_takes_turns_counts_what_the_other_will_give_back() -> None:
    model = known("z-image-turbo")
    crowded = card(24)._replace(free=2 * GB)
    with pytest.raises(GemsConfigError, match=r"2\.0 GB are free"):
        check_room(LocalModel("x/y"), weights_of(model), "cuda:0", MEGAPIXEL, memory=lambda _: crowded)
    assert (
        check_room(LocalModel("x/y"), weights_of(model), "cuda:0", MEGAPIXEL, shared=True, memory=lambda _: crowded)
        == ""
    )


def test_a_large_model_on_a_cpu_is_announced_as_slow() -> None:
    machine = Memory("cpu", 120 * GB, 128 * GB, 120 * GB, can_offload=False)
    said = check_room(LocalModel("x/y"), weights_of(known("sdxl")), "cpu", MEGAPIXEL, memory=lambda _: machine)
    assert "draws on the CPU" in said
    small = weights_of(known("sdxl"), parts={"unet": Part(1000, 4000, "fp32", "unet")})
    assert check_room(LocalModel("x/y"), small, "cpu", MEGAPIXEL, memory=lambda _: machine) == ""


def test_4_bits_take_about_a_third() -> None:
    placement = place({"transformer": 10 * GB}, card(12), "bf16", LocalOptions())
    assert placement.how == "nf4"
    assert placement.spare == card(12).free - int(20 * GB * NF4_SHARE + WORKING)


def test_the_table_of_the_docs_is_what_is_decided() -> None:
    docs = (Path(__file__).parents[2] / "docs" / "local-models.md").read_text(encoding="utf-8")
    rows = [
        [cell.strip(" `") for cell in line.split("|")[1:-1]] for line in docs.splitlines() if line.startswith("| `")
    ]
    written = {row[0]: row[1:] for row in rows if len(row) == 3 + len(CARDS)}
    assert written == {it.profile: [it.repository, it.licence, *labels(it)] for it in KNOWN}
