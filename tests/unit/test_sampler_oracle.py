"""Stages against llama.cpp's samplers: what they gave is in data/samplers.json, written by this file run as a program
with llama-cpp-python installed; the oracle test runs them again where it is.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import math
from array import array
from pathlib import Path
from typing import Any

import pytest

np = pytest.importorskip("numpy")

VECTORS = Path(__file__).resolve().parents[1] / "data" / "samplers.json"
V = 97
HISTORY = [3, 5, 8, 3, 5, 9, 1, 3, 5]
CASES: list[dict[str, Any]] = [
    *({"samplers": "top_k", "top_k": k} for k in (1, 7, 40, 200)),
    *({"samplers": "top_p", "top_p": p, "min_keep": keep} for p in (0.1, 0.5, 0.9, 0.99) for keep in (0, 5)),
    *({"samplers": "min_p", "min_p": p, "min_keep": keep} for p in (0.01, 0.1, 0.5) for keep in (0, 9)),
    *({"samplers": "typ_p", "typical_p": p, "min_keep": keep} for p in (0.2, 0.5, 0.95) for keep in (0, 6)),
    *({"samplers": "top_n_sigma", "top_n_sigma": n} for n in (0.5, 1.0, 2.0)),
    *({"samplers": "xtc", "xtc_probability": 1.0, "xtc_threshold": t} for t in (0.02, 0.1, 0.3, 0.6)),
    *({"samplers": "temperature", "temp": t} for t in (0.3, 1.7)),
    *(
        {"samplers": "temperature", "temp": t, "dynatemp_range": r, "dynatemp_exponent": e}
        for t, r, e in ((1.0, 0.5, 1.0), (0.8, 2.0, 0.5), (1.5, 0.2, 3.0))
    ),
    *(
        {
            "samplers": "penalties",
            "repeat_last_n": n,
            "repeat_penalty": r,
            "frequency_penalty": f,
            "presence_penalty": p,
        }
        for n, r, f, p in ((64, 1.3, 0.0, 0.0), (4, 1.0, 0.5, 0.0), (64, 1.1, 0.2, 0.7))
    ),
    *(
        {"samplers": "dry", "dry_multiplier": m, "dry_base": b, "dry_allowed_length": n, "dry_penalty_last_n": last}
        for m, b, n, last in ((0.8, 1.75, 2, 64), (0.5, 2.0, 1, 64), (1.0, 1.5, 1, 6))
    ),
    *({"mirostat": 1, "mirostat_tau": tau} for tau in (1.0, 2.0)),
    *({"mirostat": 2, "mirostat_tau": tau} for tau in (1.0, 2.0, 5.0)),
    *({"samplers": "adaptive_p", "adaptive_target": t, "adaptive_decay": 0.9} for t in (0.05, 0.3, 0.9)),
]


def logits_of(number: int) -> Any:
    return np.random.default_rng(number).normal(0, 2.5, V).astype(np.float32)


def by_llama_cpp(case: dict[str, Any], row: Any) -> dict[int, float]:
    """Probabilities of the candidates that llama.cpp's sampler leaves, by id."""
    import llama_cpp as peer

    get = case.get
    temp, keep = get("temp", 1.0), get("min_keep", 0)
    made = {
        "top_k": lambda: peer.llama_sampler_init_top_k(case["top_k"]),
        "top_p": lambda: peer.llama_sampler_init_top_p(case["top_p"], keep),
        "min_p": lambda: peer.llama_sampler_init_min_p(case["min_p"], keep),
        "typ_p": lambda: peer.llama_sampler_init_typical(case["typical_p"], keep),
        "top_n_sigma": lambda: peer.llama_sampler_init_top_n_sigma(case["top_n_sigma"]),
        "xtc": lambda: peer.llama_sampler_init_xtc(1.0, case["xtc_threshold"], keep, 1),
        "temperature": lambda: peer.llama_sampler_init_temp_ext(
            temp, get("dynatemp_range", 0.0), get("dynatemp_exponent", 1.0)
        ),
        "penalties": lambda: peer.llama_sampler_init_penalties(
            V, case["repeat_last_n"], case["repeat_penalty"], case["frequency_penalty"], case["presence_penalty"]
        ),
        "dry": lambda: peer.llama_sampler_init_dry(
            *(None, case["dry_multiplier"], case["dry_base"], case["dry_allowed_length"], case["dry_penalty_last_n"]),
            *(None, 0),
        ),
        "adaptive_p": lambda: peer.llama_sampler_init_adaptive_p(case["adaptive_target"], case["adaptive_decay"], 1),
        1: lambda: peer.llama_sampler_init_mirostat(V, 1, get("mirostat_tau"), 0.1, 100),
        2: lambda: peer.llama_sampler_init_mirostat_v2(1, get("mirostat_tau"), 0.1),
    }
    sampler = made[get("mirostat") or case["samplers"]]()
    for token in HISTORY:
        peer.llama_sampler_accept(sampler, token)
    entries = (peer.llama_token_data * V)(*(peer.llama_token_data(i, float(x), 0.0) for i, x in enumerate(row)))
    candidates = peer.llama_token_data_array(entries, V, -1, False)
    peer.llama_sampler_apply(sampler, ctypes.byref(candidates))
    peer.llama_sampler_free(sampler)
    left = {candidates.data[i].id: candidates.data[i].logit for i in range(candidates.size)}
    best = max(left.values())
    weights = {token: math.exp(logit - best) for token, logit in left.items() if logit > -math.inf}
    return {token: weight / sum(weights.values()) for token, weight in sorted(weights.items())}


def by_pacos(case: dict[str, Any], row: Any) -> dict[int, float]:
    from pacos.engine.sampler import Sampler, SamplerScratch
    from pacos.native import address_of
    from pacos.settings import SamplingOptions

    sampler = Sampler(SamplingOptions(**{"temp": 1.0, "seed": 1, **case}), SamplerScratch(V))
    _, ids, weights = sampler.candidates(address_of(row), array("i", HISTORY))
    return {token: weight / sum(weights) for token, weight in zip(ids, weights, strict=True)}


def same(found: dict[int, float], expected: dict[int, float]) -> bool:
    return found.keys() == expected.keys() and all(
        math.isclose(found[token], part, rel_tol=2e-5, abs_tol=1e-7) for token, part in expected.items()
    )


@pytest.mark.parametrize("number", range(len(CASES)), ids=[json.dumps(case) for case in CASES])
def test_a_stage_leaves_what_llama_cpps_leaves(number: int) -> None:
    vectors = json.loads(VECTORS.read_text(encoding="utf-8"))
    assert vectors["cases"] == CASES, "run this file as a program, with llama-cpp-python"
    expected = dict(vectors["results"][number])
    found = by_pacos(CASES[number], logits_of(number))
    assert same(found, expected), (found, expected)


@pytest.mark.oracle
def test_llama_cpp_still_gives_the_same() -> None:
    if importlib.util.find_spec("llama_cpp") is None:
        pytest.skip("needs llama-cpp-python")
    for number, case in enumerate(CASES):
        row = logits_of(number)
        assert same(by_pacos(case, row), by_llama_cpp(case, row)), case


if __name__ == "__main__":
    results = [
        [[token, float(f"{part:.7g}")] for token, part in by_llama_cpp(case, logits_of(number)).items()]
        for number, case in enumerate(CASES)
    ]
    lines = ",\n".join(json.dumps(result) for result in results)
    VECTORS.write_text(f'{{"cases": {json.dumps(CASES)},\n"results": [\n{lines}\n]}}\n', encoding="utf-8")
