"""Tiny text encoders of the real classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gems.evals.tiny.tokenizers import CLIP_END, CLIP_START, CLIP_TOKENS, QWEN_TOKENS, T5_TOKENS

if TYPE_CHECKING:
    from transformers import (
        CLIPTextModel,
        CLIPTextModelWithProjection,
        Qwen2_5_VLForConditionalGeneration,
        Qwen3ForCausalLM,
        Qwen3Model,
        T5EncoderModel,
    )

WIDTH: Final = 16
"""Size of the hidden states of all but SDXL's larger encoder."""
LARGE_WIDTH: Final = 32
"""Of that one. By their widths the two are told apart in a single file."""
_LARGE_LAYERS: Final = 10
"""By its tenth layer, SDXL is recognised in a single file."""
_QWEN: Final = {
    "vocab_size": QWEN_TOKENS,
    "hidden_size": WIDTH,
    "intermediate_size": 2 * WIDTH,
    "num_attention_heads": 2,
    "max_position_embeddings": 4096,
    "bos_token_id": None,
    "eos_token_id": QWEN_TOKENS - 1,
    "pad_token_id": 256,
}


def qwen3() -> Qwen3Model:
    """Z-Image's encoder: what is read is the state before the last layer."""
    from transformers import Qwen3Config, Qwen3Model

    return Qwen3Model(Qwen3Config(**_qwen3(layers=2)))


def qwen3_for_causal_lm(layers: int) -> Qwen3ForCausalLM:
    """FLUX.2 klein's encoder."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    return Qwen3ForCausalLM(Qwen3Config(**_qwen3(layers), tie_word_embeddings=True))


def _qwen3(layers: int) -> dict[str, Any]:
    return {**_QWEN, "num_hidden_layers": layers, "num_key_value_heads": 1, "head_dim": 8}


def qwen2_5_vl() -> Qwen2_5_VLForConditionalGeneration:
    """Qwen-Image's encoder, with its eyes."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    text = {
        **_QWEN,
        "num_hidden_layers": 2,
        "num_key_value_heads": 1,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]},
    }
    vision = {
        "depth": 2,
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_heads": 2,
        "out_hidden_size": WIDTH,
        "fullatt_block_indexes": [1],
    }
    return Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(text_config=text, vision_config=vision))


def clip(act: str = "quick_gelu") -> CLIPTextModel:
    """The encoder of Stable Diffusion, and the smaller one of SDXL and FLUX.1."""
    from transformers import CLIPTextConfig, CLIPTextModel

    return CLIPTextModel(CLIPTextConfig(**_clip(WIDTH, 2, act)))


def clip_with_projection() -> CLIPTextModelWithProjection:
    """SDXL's larger encoder."""
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    options = _clip(LARGE_WIDTH, _LARGE_LAYERS, "gelu")
    return CLIPTextModelWithProjection(CLIPTextConfig(**options, projection_dim=LARGE_WIDTH))


def _clip(width: int, layers: int, act: str) -> dict[str, Any]:
    return {
        "vocab_size": CLIP_TOKENS,
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "hidden_act": act,
        "bos_token_id": CLIP_START,
        "eos_token_id": CLIP_END,
        "pad_token_id": CLIP_END,
    }


def t5() -> T5EncoderModel:
    """FLUX.1's larger encoder."""
    from transformers import T5Config, T5EncoderModel

    return T5EncoderModel(
        T5Config(
            vocab_size=T5_TOKENS,
            d_model=WIDTH,
            d_kv=8,
            d_ff=2 * WIDTH,
            num_layers=2,
            num_heads=2,
            feed_forward_proj="gated-gelu",
        )
    )
