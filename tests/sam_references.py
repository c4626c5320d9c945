"""Small Segment Anything networks of the reference implementations, with weights worth comparing.

``segment_anything`` (the original) and ``samexporter`` (which carries MobileSAM's encoder) are installed
without their dependencies, see ``tests/references.txt``: torchvision has no build beside the torch that the
tests run with. What they import of it and of timm plays no part in the networks, so empty modules stand in.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import torch
from torch import nn

SIZE, GRID = 160, 10  # the picture's side in pixels, and the embedding's


def stand_in(name: str, **members: Any) -> None:
    """A module of that name where none can be imported."""
    if name not in sys.modules:
        module = ModuleType(name)
        vars(module).update(members)
        sys.modules[name] = module


def import_originals() -> None:
    """Make ``segment_anything`` and MobileSAM's encoder importable."""
    unused = dict.fromkeys(("resize", "to_pil_image", "batched_nms", "box_area"))
    for name in ("torchvision", "torchvision.transforms", "torchvision.transforms.functional"):
        stand_in(name, **unused)
    for name in ("torchvision.ops", "torchvision.ops.boxes"):
        stand_in(name, **unused)
    for name in ("timm", "timm.models"):
        stand_in(name)
    stand_in(
        "timm.models.layers",
        DropPath=nn.Identity,
        to_2tuple=lambda size: (size, size),
        trunc_normal_=nn.init.trunc_normal_,
    )
    stand_in("timm.models.registry", register_model=lambda function: function)


def lively(network: nn.Module) -> nn.Module:
    """Weights of a size at which every part moves the output: some are initialised to (almost) nothing."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(std=0.3) if parameter.ndim > 1 else parameter.add_(
                0.1 * torch.randn_like(parameter)
            )
        for name, buffer in network.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_(std=0.1)
            elif name.endswith("running_var"):
                buffer.uniform_(0.5, 1.5)
            elif name.endswith("gaussian_matrix"):
                buffer.normal_()
    return network.eval()


def transformers_sam() -> Any:
    """A tiny ``SamModel``: windows that do not fit the grid, global blocks, and the original's norms."""
    from transformers import SamConfig, SamModel

    vision = {
        "hidden_size": 32,
        "output_channels": 16,
        "num_hidden_layers": 4,
        "num_attention_heads": 2,
        "image_size": SIZE,
        "window_size": 4,
        "global_attn_indexes": [1, 3],
        "num_pos_feats": 8,
        "mlp_ratio": 2.0,
    }
    prompt = {"hidden_size": 16, "image_size": SIZE, "mask_input_channels": 8}
    decoder = {
        "hidden_size": 16,
        "mlp_dim": 24,
        "num_attention_heads": 2,
        "iou_head_hidden_dim": 12,
        "layer_norm_eps": 1e-5,  # as the original, and as the published networks were trained
    }
    network = SamModel(
        SamConfig(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder)
    )
    lively(network)
    network.tie_weights()
    return network


def original_sam(image_encoder: nn.Module | None = None, *, width: int = 16, grid: int = GRID) -> Any:
    """A tiny network of the original code; with MobileSAM's encoder when that is given."""
    import_originals()
    from functools import partial

    from segment_anything.modeling import (
        ImageEncoderViT,
        MaskDecoder,
        PromptEncoder,
        Sam,
        TwoWayTransformer,
    )

    size = 16 * grid
    encoder = image_encoder or ImageEncoderViT(
        img_size=size,
        patch_size=16,
        embed_dim=32,
        depth=4,
        num_heads=2,
        mlp_ratio=2,
        out_chans=width,
        qkv_bias=True,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        use_rel_pos=True,
        window_size=4,
        global_attn_indexes=(1, 3),
    )
    network = Sam(
        image_encoder=encoder,
        prompt_encoder=PromptEncoder(
            embed_dim=width,
            image_embedding_size=(grid, grid),
            input_image_size=(size, size),
            mask_in_chans=16,
        ),
        mask_decoder=MaskDecoder(
            transformer_dim=width,
            transformer=TwoWayTransformer(depth=2, embedding_dim=width, num_heads=8, mlp_dim=2048),
            iou_head_hidden_dim=256,
        ),
    )
    return lively(network)


def mobile_sam() -> Any:
    """MobileSAM at its one published size."""
    import_originals()
    from samexporter.mobile_encoder.tiny_vit_sam import TinyViT

    encoder = TinyViT(
        img_size=1024,
        embed_dims=[64, 128, 160, 320],
        depths=[2, 2, 6, 2],
        num_heads=[2, 4, 5, 10],
        window_sizes=[7, 7, 14, 7],
        drop_path_rate=0.0,
    )
    return original_sam(encoder, width=256, grid=64)


def pixels(size: int = SIZE) -> torch.Tensor:
    """A picture that fills the square but for the right and the bottom, as padding leaves it."""
    torch.manual_seed(1)
    picture = torch.randn(1, 3, size, size)
    picture[..., size // 5 * 4 :] = 0
    picture[..., size // 10 * 9 :, :] = 0
    return picture
