from __future__ import annotations

from models.case import Case, small

CASES = {
    "minimax-01": Case(
        small(
            *("MiniMaxForCausalLM", "minimax"),
            num_hidden_layers=3,
            layer_types=["linear_attention", "full_attention", "linear_attention"],
            num_local_experts=6,
            num_experts_per_tok=2,
            block_size=16,
            **{f"{part}_alpha_factor": 1.5 for part in ("full_attn", "linear_attn", "mlp")},
        )
    ),
}
