"""Chameleon: a vocabulary that is wide enough for tokens of pictures, which are never answered."""

from __future__ import annotations

from models.case import Case, Config, small

_VOCABULARY, _PICTURES = 8300, range(4, 8196)
_VQ = {
    **{"embed_dim": 32, "num_embeddings": 16, "latent_channels": 32, "resolution": 8, "in_channels": 1},
    **{"base_channels": 32, "channel_multiplier": [1], "num_res_blocks": 1},
}


def _chameleon(**more: bool) -> Config:
    return small(
        *("ChameleonForConditionalGeneration", "chameleon"),
        vocab_size=_VOCABULARY,
        hidden_size=32,
        intermediate_size=64,
        num_key_value_heads=4,
        vocabulary_map={f"IMGIMG{token}Z": token for token in _PICTURES} | {"<image>": 8200},
        vq_config=_VQ,
        head_dim=None,
        **more,
    )


CASES = {
    "chameleon": Case(_chameleon(swin_norm=False), peer="holds no tokens of pictures back; of the others KL is 9e-14"),
    "chameleon-behind": Case(_chameleon(swin_norm=True), peer="feeds the unit what attention gave, without the rest"),
}
