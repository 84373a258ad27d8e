"""Tiny diffusion pipelines with random weights, saved as diffusers saves real ones: what a runner is proven on.

Needs torch, diffusers and transformers, which are imported when a pipeline is made.
"""

import json
from pathlib import Path
from typing import Any, Final

SIDE: Final = 64  # pixels; the autoencoder makes 2 of each latent
LETTERS: Final = "abcdefghijklmnopqrstuvwxyz"
TOKENS_MAX: Final = 16


def painter(folder: Path) -> Path:
    """A StableDiffusionPipeline in `folder`."""
    from diffusers import DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel

    parts = _parts(folder)
    unet = UNet2DConditionModel(
        sample_size=SIDE // 2,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=4,
        norm_num_groups=4,
    )
    pipe = StableDiffusionPipeline(
        **parts,
        unet=unet,
        scheduler=DDIMScheduler(clip_sample=False, steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.save_pretrained(folder, safe_serialization=True)
    return folder


def film(folder: Path) -> Path:
    """An AnimateDiffPipeline in `folder`."""
    from diffusers import AnimateDiffPipeline, DDIMScheduler, MotionAdapter, UNet2DConditionModel

    parts = _parts(folder)
    unet = UNet2DConditionModel(
        sample_size=SIDE // 2,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=4,
        norm_num_groups=4,
    )
    motion = MotionAdapter(
        block_out_channels=(8, 16), motion_layers_per_block=1, motion_norm_num_groups=2, motion_num_attention_heads=4
    )
    pipe = AnimateDiffPipeline(
        **parts, unet=unet, motion_adapter=motion, scheduler=DDIMScheduler(clip_sample=False, steps_offset=1)
    )
    pipe.save_pretrained(folder, safe_serialization=True)
    return folder


def _parts(folder: Path) -> dict[str, Any]:
    import torch
    from diffusers import AutoencoderKL
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(0)
    tokenizer = _tokenizer(folder / "words")
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=4,
        max_position_embeddings=TOKENS_MAX,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    vae = AutoencoderKL(
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D", "DownEncoderBlock2D"),
        up_block_types=("UpDecoderBlock2D", "UpDecoderBlock2D"),
        norm_num_groups=4,
        latent_channels=4,
        mid_block_add_attention=False,
    )
    return {"vae": vae, "text_encoder": CLIPTextModel(text), "tokenizer": tokenizer}


def _tokenizer(folder: Path) -> Any:
    """Letters are its tokens."""
    from transformers import CLIPTokenizer

    folder.mkdir(parents=True)
    words = [*LETTERS, *(f"{letter}</w>" for letter in LETTERS), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: place for place, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer(
        str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=TOKENS_MAX, unk_token="<|endoftext|>"
    )
