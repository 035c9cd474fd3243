"""Models that see too: their whole folders, whose part for text is what is computed."""

from __future__ import annotations

from typing import Any

from models.case import Case, Config, small

_VISION = {
    **{"depth": 2, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "patch_size": 2, "out_hidden_size": 64},
    **{"num_position_embeddings": 16, "spatial_merge_size": 2, "temporal_patch_size": 2, "in_channels": 1},
}
_ROPE = {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [3, 3, 2]}}


def _seeing(name: str, kind: str, vision: Config, **more: Any) -> Case:
    text = small(name, f"{kind}_text", **{**_ROPE, **more})
    config = {"architectures": text.pop("architectures"), "model_type": kind, "tie_word_embeddings": False}
    return Case({**config, "text_config": text, "vision_config": vision})


_SIGLIP = {
    **{"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2},
    **{"patch_size": 2, "spatial_merge_size": 2, "num_channels": 1},
}
_STRETCHED = {"rope_type": "dynamic", "rope_theta": 10000.0, "alpha": 1000.0, "factor": 1.0}
_PARTLY = {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}

CASES = {
    "qwen2vl": _seeing(
        *("Qwen2VLForConditionalGeneration", "qwen2_vl"),
        {**_VISION, "embed_dim": 16, "hidden_size": 64, "mlp_ratio": 1},
        head_dim=None,
    ),
    "qwen2.5vl": _seeing(
        *("Qwen2_5_VLForConditionalGeneration", "qwen2_5_vl"),
        {**_VISION, "window_size": 4, "fullatt_block_indexes": [1]},
        head_dim=None,
    ),
    "qwen3vl": _seeing(*("Qwen3VLForConditionalGeneration", "qwen3_vl"), {**_VISION, "deepstack_visual_indexes": [0]}),
    "qwen3vlmoe": _seeing(
        *("Qwen3VLMoeForConditionalGeneration", "qwen3_vl_moe"),
        {**_VISION, "deepstack_visual_indexes": [0]},
        num_experts=6,
        num_experts_per_tok=2,
        moe_intermediate_size=48,
    ),
    "hunyuan_vl": _seeing(
        *("HunYuanVLForConditionalGeneration", "hunyuan_vl"),
        {**_SIGLIP, "text_hidden_size": 64, "out_hidden_size": 64, "max_image_size": 16},
        rope_parameters={**_STRETCHED, "mrope_section": [2, 2, 2, 2]},
        pad_token_id=0,
    ),
    "glm4v": _seeing(
        *("Glm4vForConditionalGeneration", "glm4v"),
        {**_VISION, "image_size": 8, "depth": 1},
        rope_parameters={**_PARTLY, "mrope_section": [2, 1, 1]},
        attention_bias=True,
        pad_token_id=0,
    ),
    "glm4v-experts": _seeing(
        *("Glm4vMoeForConditionalGeneration", "glm4v_moe"),
        {**_VISION, "image_size": 8, "depth": 1},
        rope_parameters={**_PARTLY, "mrope_section": [2, 1, 1]},
        n_routed_experts=6,
        num_experts_per_tok=2,
        moe_intermediate_size=64,
        first_k_dense_replace=1,
        pad_token_id=0,
    ),
    "paddleocr": _seeing(
        *("PaddleOCRVLForConditionalGeneration", "paddleocr_vl"), {**_SIGLIP, "image_size": 8}, pad_token_id=0
    ),
}
