"""The embedded engine on a CUDA device: seeds hold across devices. Run: `python -m pytest tests/gpu`."""

from __future__ import annotations

import pytest
import torch

from gems.backends.sketch.images import load_pipeline

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]


def test_a_prompt_and_seed_give_the_same_things_on_both_devices() -> None:
    pipeline = load_pipeline()
    prompts = ["exactly three red apples at the left. Exactly one blue vase at the right.", "a dog"]
    scenes = []
    for device in ("cpu", "cuda"):
        pipeline.to(device)
        generators = [torch.Generator().manual_seed(seed) for seed in range(len(prompts))]
        scenes.append(pipeline(prompts, generator=generators, output_type="layout").scenes)
    pipeline.to("cpu")
    for on_cpu, on_gpu in zip(*scenes, strict=True):
        assert [(it.name, it.color) for it in on_cpu.things] == [(it.name, it.color) for it in on_gpu.things]
        for one, other in zip(on_cpu.things, on_gpu.things, strict=True):
            assert (one.x, one.y, one.size) == pytest.approx((other.x, other.y, other.size), abs=0.01)
