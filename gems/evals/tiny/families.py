"""One tiny pipeline for each family: the real classes, the real schedulers' settings, and the real scale of 8 pixels."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from gems.evals.tiny import encoders, tokenizers
from gems.evals.tiny.encoders import LARGE_WIDTH, WIDTH

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, DiffusionPipeline

_LATENTS: Final = 4
_BLOCKS: Final = (8, 8, 16, 16)
"""Channels of an autoencoder; each block but the last halves the picture."""
_NOISE: Final = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
}
_KLEIN_LAYERS: Final = 27
"""FLUX.2 klein reads the states behind layers 9, 18 and 27 unless it is told otherwise."""


def _z_image_turbo() -> DiffusionPipeline:
    from diffusers import FlowMatchEulerDiscreteScheduler, ZImagePipeline, ZImageTransformer2DModel

    return ZImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=_autoencoder(scaling_factor=0.3611, shift_factor=0.1159, use_quant_conv=False, use_post_quant_conv=False),
        text_encoder=encoders.qwen3(),
        tokenizer=tokenizers.qwen_tokenizer(),
        transformer=ZImageTransformer2DModel(
            in_channels=_LATENTS,
            dim=32,
            n_layers=2,
            n_refiner_layers=1,
            n_heads=2,
            n_kv_heads=2,
            cap_feat_dim=WIDTH,
            axes_dims=[8, 4, 4],
            axes_lens=[2048, 512, 512],
        ),
    )


def _qwen_image() -> DiffusionPipeline:
    from diffusers import (
        AutoencoderKLQwenImage,
        FlowMatchEulerDiscreteScheduler,
        QwenImagePipeline,
        QwenImageTransformer2DModel,
    )

    return QwenImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(
            use_dynamic_shifting=True, base_shift=0.5, max_shift=0.9, max_image_seq_len=8192, shift_terminal=0.02
        ),
        vae=AutoencoderKLQwenImage(
            base_dim=8,
            z_dim=_LATENTS,
            dim_mult=[1, 2, 2, 2],
            num_res_blocks=1,
            temperal_downsample=[False, True, True],
            latents_mean=[0.0] * _LATENTS,
            latents_std=[1.0] * _LATENTS,
        ),
        text_encoder=encoders.qwen2_5_vl(),
        tokenizer=tokenizers.qwen_tokenizer(),
        transformer=QwenImageTransformer2DModel(
            in_channels=4 * _LATENTS,
            out_channels=_LATENTS,
            num_layers=2,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=WIDTH,
            axes_dims_rope=(8, 4, 4),
        ),
    )


def _flux_2_klein() -> DiffusionPipeline:
    from diffusers import (
        AutoencoderKLFlux2,
        FlowMatchEulerDiscreteScheduler,
        Flux2KleinPipeline,
        Flux2Transformer2DModel,
    )

    return Flux2KleinPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        vae=AutoencoderKLFlux2(
            block_out_channels=_BLOCKS, layers_per_block=1, latent_channels=_LATENTS, norm_num_groups=4, sample_size=64
        ),
        text_encoder=encoders.qwen3_for_causal_lm(_KLEIN_LAYERS),
        tokenizer=tokenizers.qwen_tokenizer(),
        transformer=Flux2Transformer2DModel(
            in_channels=4 * _LATENTS,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=3 * WIDTH,
            timestep_guidance_channels=32,
            axes_dims_rope=(4, 4, 4, 4),
            guidance_embeds=False,
        ),
        is_distilled=True,
    )


def _flux_1_schnell() -> DiffusionPipeline:
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel

    return FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=1.0),
        vae=_autoencoder(scaling_factor=0.3611, shift_factor=0.1159, use_quant_conv=False, use_post_quant_conv=False),
        text_encoder=encoders.clip(),
        tokenizer=tokenizers.clip_tokenizer(),
        text_encoder_2=encoders.t5(),
        tokenizer_2=tokenizers.t5_tokenizer(),
        transformer=FluxTransformer2DModel(
            in_channels=4 * _LATENTS,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=WIDTH,
            pooled_projection_dim=WIDTH,
            axes_dims_rope=(4, 6, 6),
        ),
    )


def _sdxl() -> DiffusionPipeline:
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline

    return StableDiffusionXLPipeline(
        scheduler=EulerDiscreteScheduler(**_NOISE, timestep_spacing="leading", steps_offset=1),
        vae=_autoencoder(scaling_factor=0.13025),
        text_encoder=encoders.clip(),
        tokenizer=tokenizers.clip_tokenizer(),
        text_encoder_2=encoders.clip_with_projection(),
        tokenizer_2=tokenizers.clip_tokenizer(padding="!"),
        unet=_unet(
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=WIDTH + LARGE_WIDTH,
            # The larger encoder's summary, and six numbers of sizes and crops.
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=LARGE_WIDTH + 6 * 8,
        ),
    )


def _sd_turbo() -> DiffusionPipeline:
    from diffusers import EulerDiscreteScheduler, StableDiffusionPipeline

    return StableDiffusionPipeline(
        scheduler=EulerDiscreteScheduler(**_NOISE, timestep_spacing="trailing", steps_offset=1),
        vae=_autoencoder(scaling_factor=0.18215),
        text_encoder=encoders.clip(act="gelu"),
        tokenizer=tokenizers.clip_tokenizer(padding="!"),
        unet=_unet(
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            cross_attention_dim=WIDTH,
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def _autoencoder(**options: Any) -> AutoencoderKL:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * len(_BLOCKS),
        up_block_types=("UpDecoderBlock2D",) * len(_BLOCKS),
        block_out_channels=_BLOCKS,
        layers_per_block=1,
        latent_channels=_LATENTS,
        norm_num_groups=4,
        sample_size=64,
        force_upcast=False,
        **options,
    )


def _unet(**options: Any) -> Any:
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(16, 32),
        layers_per_block=1,
        norm_num_groups=8,
        attention_head_dim=(2, 4),
        use_linear_projection=True,
        **options,
    )


ASSEMBLERS: Final[dict[str, Callable[[], DiffusionPipeline]]] = {
    "z-image-turbo": _z_image_turbo,
    "qwen-image": _qwen_image,
    "flux.2-klein": _flux_2_klein,
    "flux.1-schnell": _flux_1_schnell,
    "sdxl": _sdxl,
    "sd-turbo": _sd_turbo,
}
TINY_FAMILIES: Final = tuple(ASSEMBLERS)
