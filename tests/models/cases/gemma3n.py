from __future__ import annotations

from models.case import Case, Config, small

_ROPE = {
    "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
    "full_attention": {"rope_type": "default", "rope_theta": 1000000.0},
}


def _config(layers: int, **more: object) -> Config:
    kinds = ["sliding_attention", "full_attention"] * (layers // 2)
    return small(
        "Gemma3nForCausalLM",
        "gemma3n_text",
        hidden_activation="gelu_pytorch_tanh",
        hidden_act=None,
        tie_word_embeddings=True,
        sliding_window=40,
        final_logit_softcapping=30.0,
        rope_parameters=_ROPE,
        pad_token_id=0,
        vocab_size_per_layer_input=240,
        num_hidden_layers=layers,
        layer_types=kinds,
        laurel_rank=8,
        hidden_size_per_layer_input=16,
        altup_num_inputs=4,
        altup_active_idx=0,
    ) | dict(more)


_PLAIN = {"laurel_rank": 64, "hidden_size_per_layer_input": 256, "vocab_size_per_layer_input": 256}
_SPARSE = {"intermediate_size": [128, 128, 192, 128], "activation_sparsity_pattern": [0.95, 0.0, 0.5, 0.0]}

CASES = {
    "gemma3n": Case(
        _config(4, num_kv_shared_layers=2, **_SPARSE),
        embedding_spread=0.06,
        peer="has 20 unshared and 10 sparse layers whatever the file says",
    ),
    "gemma3n-plain": Case(
        _config(2, num_kv_shared_layers=0, activation_sparsity_pattern=[0.95, 0.95], **_PLAIN),
        embedding_spread=0.06,
        peer="takes standard deviations of samples",
    ),
}
