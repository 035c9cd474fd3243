"""Every family that the project promises is there: its folders' class leads to an architecture that a case tests."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from models import tiny

from pacos.models import Architecture, architectures


class Family(NamedTuple):
    """A class of its folders, its architecture, and cases that its special traits need (any of the class's else)."""

    hf_class: str
    architecture: str
    cases: tuple[str, ...] = ()


# Fine-tunes and translations are their parents' files under another name.
FAMILIES = {
    "LLaMA 1": Family("LLaMAForCausalLM", "llama", ("llama",)),
    "LLaMA 2": Family("LlamaForCausalLM", "llama", ("llama", "llama-linear")),
    "LLaMA 3": Family("LlamaForCausalLM", "llama", ("llama-factors", "llama-base", "llama-tied")),
    "Mistral": Family("MistralForCausalLM", "llama", ("mistral",)),
    "Mixtral": Family("MixtralForCausalLM", "llama", ("mixtral",)),
    "DBRX": Family("DbrxForCausalLM", "dbrx"),
    "Falcon 7B": Family("FalconForCausalLM", "falcon", ("falcon-7b",)),
    "Falcon 40B": Family("FalconForCausalLM", "falcon", ("falcon-40b",)),
    "Falcon RW": Family("RWForCausalLM", "falcon", ("falcon-rw",)),
    "Chinese LLaMA, Alpaca 1 and 2": Family("LlamaForCausalLM", "llama", ("llama",)),
    "Vigogne": Family("LlamaForCausalLM", "llama", ("llama",)),
    "BERT, bge": Family("BertModel", "bert", ("bert",)),
    "e5, RoBERTa, XLM-R": Family("XLMRobertaModel", "bert", ("roberta",)),
    "nomic-bert": Family("NomicBertModel", "nomic-bert", ("nomic-bert",)),
    "Koala": Family("LlamaForCausalLM", "llama", ("llama",)),
    "Baichuan 7B": Family("BaiChuanForCausalLM", "baichuan", ("baichuan-7b",)),
    "Baichuan 13B and 2": Family("BaichuanForCausalLM", "baichuan", ("baichuan-13b",)),
    "Aquila 1": Family("LLaMAForCausalLM", "llama", ("llama",)),
    "Aquila 2": Family("LlamaForCausalLM", "llama", ("llama",)),
    "StarCoder 1, SantaCoder": Family("GPTBigCodeForCausalLM", "starcoder", ("starcoder",)),
    "StarCoder 1 with heads of keys": Family("GPTBigCodeForCausalLM", "starcoder", ("starcoder-heads",)),
    "StarCoder 2": Family("Starcoder2ForCausalLM", "starcoder2"),
    "Refact": Family("GPTRefactForCausalLM", "refact"),
    "MPT": Family("MPTForCausalLM", "mpt", ("mpt",)),
    "SEA-LION 1": Family("MptForCausalLM", "mpt", ("mpt",)),
    "Bloom": Family("BloomForCausalLM", "bloom"),
    "Yi": Family("LlamaForCausalLM", "llama", ("llama-base",)),
    "StableLM 1": Family("StableLMEpochForCausalLM", "stablelm", ("stablelm",)),
    "StableLM 2": Family("StableLmForCausalLM", "stablelm", ("stablelm",)),
    "StableLM 2 12B": Family("StableLmForCausalLM", "stablelm", ("stablelm-parallel",)),
    "DeepSeek LLM": Family("LlamaForCausalLM", "llama", ("llama",)),
    "DeepSeek Coder": Family("LlamaForCausalLM", "llama", ("llama-linear",)),
    "DeepSeek MoE": Family("DeepseekForCausalLM", "deepseek"),
    "DeepSeek V2 Lite": Family("DeepseekV2ForCausalLM", "deepseek2", ("deepseek2-lite",)),
    "DeepSeek V3": Family("DeepseekV3ForCausalLM", "deepseek2", ("deepseek2",)),
    "Qwen 1": Family("QWenLMHeadModel", "qwen"),
    "Qwen 1.5": Family("Qwen2ForCausalLM", "qwen2", ("qwen2",)),
    "Qwen 2": Family("Qwen2ForCausalLM", "qwen2", ("qwen2", "qwen2-window")),
    "Qwen 2 MoE": Family("Qwen2MoeForCausalLM", "qwen2moe"),
    "PLaMo": Family("PlamoForCausalLM", "plamo"),
    "PLaMo 2": Family("Plamo2ForCausalLM", "plamo2"),
    "Phi 1.5, 2": Family("PhiForCausalLM", "phi2", ("phi2", "phi2-norms")),
    "Phi-3": Family("Phi3ForCausalLM", "phi3", ("phi3", "phi3-long", "phi3-short")),
    "Phi-3 MoE": Family("PhimoeForCausalLM", "phimoe", ("phimoe", "phimoe-long")),
    "GPT-2": Family("GPT2LMHeadModel", "gpt2"),
    "Orion": Family("OrionForCausalLM", "orion"),
    "InternLM2": Family("InternLM2ForCausalLM", "internlm2"),
    "CodeShell": Family("CodeShellForCausalLM", "codeshell"),
    "Gemma 1": Family("GemmaForCausalLM", "gemma"),
    "Gemma 2": Family("Gemma2ForCausalLM", "gemma2"),
    "Mamba 1": Family("MambaForCausalLM", "mamba", ("mamba",)),
    "Mamba 1 as published": Family("MambaLMHeadModel", "mamba", ("mamba-published",)),
    "Mamba 2 as published": Family("MambaLMHeadModel", "mamba2", ("mamba2-published",)),
    "FalconMamba": Family("FalconMambaForCausalLM", "mamba", ("falcon-mamba",)),
    "Mamba 2": Family("Mamba2ForCausalLM", "mamba2"),
    "Grok-1": Family("GrokForCausalLM", "grok", ("grok",)),
    "Grok 2": Family("Grok1ForCausalLM", "grok", ("grok-2",)),
    "Xverse": Family("XverseForCausalLM", "xverse"),
    "Command-R": Family("CohereForCausalLM", "command-r", ("command-r",)),
    "Command-R+": Family("CohereForCausalLM", "command-r", ("command-r-norms",)),
    "GritLM 7B": Family("MistralForCausalLM", "llama", ("mistral",)),
    "GritLM 8x7B": Family("MixtralForCausalLM", "llama", ("mixtral",)),
    "OLMo 1": Family("OlmoForCausalLM", "olmo"),
    "OLMo 2": Family("Olmo2ForCausalLM", "olmo2", ("olmo2",)),
    "GPT-NeoX": Family("GPTNeoXForCausalLM", "gptneox", ("gptneox",)),
    "Pythia": Family("GPTNeoXForCausalLM", "gptneox", ("gptneox-serial", "gptneox")),
    "ChatGLM3": Family("ChatGLMModel", "chatglm", ("chatglm3",)),
    "GLM-4 of 2024": Family("GlmForCausalLM", "chatglm", ("chatglm",)),
    "GLM-4 of 2025": Family("Glm4ForCausalLM", "glm4"),
    "OpenELM": Family("OpenELMForCausalLM", "openelm"),
    "Arctic": Family("ArcticForCausalLM", "arctic"),
    "GPT-J": Family("GPTJForCausalLM", "gptj"),
    "T5": Family("T5ForConditionalGeneration", "t5", ("t5",)),
    "Flan-T5": Family("T5ForConditionalGeneration", "t5", ("flan-t5",)),
    "mT5": Family("MT5ForConditionalGeneration", "t5", ("flan-t5",)),
    "UMT5": Family("UMT5ForConditionalGeneration", "t5", ("umt5",)),
    "EmbeddingGemma": Family("Gemma3TextModel", "gemma-embedding"),
    "ModernBERT": Family("ModernBertModel", "modern-bert", ("modern-bert", "modern-bert-silu")),
    "ModernBERT that classifies": Family(
        "ModernBertForSequenceClassification", "modern-bert", ("modern-bert-classifier", "modern-bert-mean-classifier")
    ),
    "nomic-embed-text-v2-moe": Family("NomicBertModel", "nomic-bert-moe"),
    "jina-embeddings-v3": Family("XLMRobertaModel", "jina-bert-v3", ("jina-bert-v3",)),
    "jina-embeddings-v3 of transformers": Family(
        "JinaEmbeddingsV3Model", "jina-bert-v3", ("jina-bert-v3-transformers",)
    ),
    "EuroBERT": Family("EuroBertModel", "eurobert"),
    "NeoBERT": Family("NeoBERT", "neo-bert"),
    "llama-embed-nemotron": Family("LlamaBidirectionalModel", "llama-embed"),
    "T5 encoders": Family("T5EncoderModel", "t5encoder"),
    "BitNet b1.58": Family("BitNetForCausalLM", "bitnet"),
    "Llama 4": Family("Llama4ForCausalLM", "llama4"),
    "Qwen3": Family("Qwen3ForCausalLM", "qwen3"),
    "Qwen3 MoE": Family("Qwen3MoeForCausalLM", "qwen3moe"),
    "Qwen3-Next": Family("Qwen3NextForCausalLM", "qwen3next"),
    "Qwen3.5": Family("Qwen3_5ForCausalLM", "qwen35"),
    "Qwen3.5 MoE": Family("Qwen3_5MoeForCausalLM", "qwen35moe"),
    "Gemma 3": Family("Gemma3ForCausalLM", "gemma3"),
    "Gemma 3n": Family("Gemma3nForConditionalGeneration", "gemma3n", ("gemma3n",)),
    "Gemma 4": Family("Gemma4ForCausalLM", "gemma4", ("gemma4-small", "gemma4-large")),
    "gpt-oss": Family("GptOssForCausalLM", "gpt-oss"),
    "GLM 4.5, 4.6 MoE": Family("Glm4MoeForCausalLM", "glm4moe"),
    "Kimi-K2": Family("DeepseekV3ForCausalLM", "deepseek2", ("kimi-k2",)),
    "Kimi Linear": Family("KimiLinearForCausalLM", "kimi-linear"),
    "MiniMax-M2": Family("MiniMaxM2ForCausalLM", "minimax-m2"),
    "Hunyuan": Family("HunYuanDenseV1ForCausalLM", "hunyuan-dense"),
    "Hunyuan MoE": Family("HunYuanMoEV1ForCausalLM", "hunyuan-moe"),
    "ERNIE 4.5": Family("Ernie4_5ForCausalLM", "ernie4_5"),
    "ERNIE 4.5 MoE": Family("Ernie4_5_MoeForCausalLM", "ernie4_5-moe"),
    "Granite 3": Family("GraniteForCausalLM", "granite"),
    "Granite 3 MoE": Family("GraniteMoeForCausalLM", "granitemoe"),
    "Granite 4 H": Family("GraniteMoeHybridForCausalLM", "granitehybrid", ("granitehybrid", "granitehybrid-experts")),
    "Granite 4": Family("GraniteMoeHybridForCausalLM", "granite", ("granite4",)),
    "Granite 4 MoE": Family("GraniteMoeHybridForCausalLM", "granitemoe", ("granite4-experts",)),
    "Falcon-H1": Family("FalconH1ForCausalLM", "falcon-h1"),
    "LFM2": Family("Lfm2ForCausalLM", "lfm2"),
    "Jamba": Family("JambaForCausalLM", "jamba", ("jamba", "jamba-experts")),
    "Nemotron-H": Family("NemotronHForCausalLM", "nemotron_h", ("nemotron-h",)),
    "Nemotron 3 Nano": Family("NemotronHForCausalLM", "nemotron_h_moe", ("nemotron-h-experts", "nemotron-h-narrow")),
    "RWKV 6": Family("Rwkv6ForCausalLM", "rwkv6"),
    "RWKV 7": Family("RWKV7ForCausalLM", "rwkv7"),
    "SmolLM3": Family("SmolLM3ForCausalLM", "smollm3"),
    "OLMoE": Family("OlmoeForCausalLM", "olmoe"),
    "EXAONE 4": Family("Exaone4ForCausalLM", "exaone4", ("exaone4", "exaone4-whole")),
    "EXAONE 3, 3.5": Family("ExaoneForCausalLM", "exaone"),
    "K-EXAONE": Family("ExaoneMoEForCausalLM", "exaone-moe"),
    "LFM2 MoE": Family("Lfm2MoeForCausalLM", "lfm2moe"),
    "dots.llm1": Family("Dots1ForCausalLM", "dots1"),
    "Trinity": Family("AfmoeForCausalLM", "afmoe"),
    "Nemotron Super, Ultra": Family("DeciLMForCausalLM", "deci"),
    "Cohere2 MoE": Family("Cohere2MoeForCausalLM", "cohere2moe"),
    "Mistral Small 4": Family("Mistral3ForConditionalGeneration", "mistral4"),
    "Hunyuan 3": Family("HYV3ForCausalLM", "hy_v3"),
    "Mellum 2": Family("MellumForCausalLM", "mellum"),
    "Laguna": Family("LagunaForCausalLM", "laguna", ("laguna", "laguna-elements")),
    "SmallThinker": Family("SmallThinkerForCausalLM", "smallthinker", ("smallthinker", "smallthinker-windows")),
    "Seed-OSS": Family("SeedOssForCausalLM", "seed_oss"),
    "Bailing, Ling": Family("BailingMoeForCausalLM", "bailingmoe"),
    "Ling 2": Family("BailingMoeV2ForCausalLM", "bailingmoe2"),
    "Mistral Small": Family("MistralForCausalLM", "llama", ("mistral",)),
    "Ministral 3": Family("Ministral3ForCausalLM", "mistral3"),
    "Cohere2": Family("Cohere2ForCausalLM", "cohere2"),
    "Apertus": Family("ApertusForCausalLM", "apertus"),
    "Qwen2-VL": Family("Qwen2VLForConditionalGeneration", "qwen2vl", ("qwen2vl",)),
    "Qwen2.5-VL": Family("Qwen2_5_VLForConditionalGeneration", "qwen2vl", ("qwen2.5vl",)),
    "Qwen3-VL": Family("Qwen3VLForConditionalGeneration", "qwen3vl"),
    "Qwen3-VL MoE": Family("Qwen3VLMoeForConditionalGeneration", "qwen3vlmoe"),
    "GLM-4.1V": Family("Glm4vForConditionalGeneration", "glm4", ("glm4v",)),
    "GLM-4.5V": Family("Glm4vMoeForConditionalGeneration", "glm4moe", ("glm4v-experts",)),
    "HunyuanOCR": Family("HunYuanVLForConditionalGeneration", "hunyuan_vl"),
    "PaddleOCR-VL": Family("PaddleOCRVLForConditionalGeneration", "paddleocr"),
    "MiniCPM3": Family("MiniCPM3ForCausalLM", "minicpm3"),
    "PLM": Family("PLMForCausalLM", "plm"),
    "Jais": Family("JAISLMHeadModel", "jais"),
    "Jais 2": Family("Jais2ForCausalLM", "jais2"),
    "DeepSeek V3.2": Family("DeepseekV32ForCausalLM", "deepseek32"),
    "GLM 5": Family("GlmMoeDsaForCausalLM", "glm-dsa"),
    "Granite SWA": Family("GraniteSWAForCausalLM", "granite_swa", ("granite_swa",)),
    "Granite SWA MoE": Family("GraniteMoeSWAForCausalLM", "granite_swa", ("granite_swa-experts",)),
    "PLaMo 3": Family("Plamo3ForCausalLM", "plamo3"),
    "Maincoder": Family("MaincoderForCausalLM", "maincoder"),
    "Nanbeige 4.2": Family("NanbeigeForCausalLM", "nanbeige"),
    "Pangu Embedded": Family("PanguEmbeddedForCausalLM", "pangu-embedded"),
    "MiniMax-01, M1": Family("MiniMaxText01ForCausalLM", "minimax-01"),
    "Chameleon": Family("ChameleonForConditionalGeneration", "chameleon"),
    "ARWKV 7": Family("RwkvHybridForCausalLM", "arwkv7"),
    "QRWKV 6": Family("RWKV6Qwen2ForCausalLM", "rwkv6qwen2"),
}
# Architectures whose test is a file of its own.
ELSEWHERE = {"jina-bert-v2"}


def classes_of(entry: Architecture) -> set[str]:
    return {name for hf in entry.hf for name in hf.classes}


@pytest.mark.parametrize("name", FAMILIES)
def test_promised_families_are_computed_and_tested(name: str) -> None:
    family = FAMILIES[name]
    assert family.architecture in {entry.name for entry in architectures() if family.hf_class in classes_of(entry)}
    everything = [*tiny.CASES, *tiny.ENCODERS]
    cases = family.cases or [one for one in everything if tiny.architecture_of(one).name == family.architecture]
    assert cases
    assert {tiny.architecture_of(case).name for case in cases} == {family.architecture}


def test_every_architecture_has_a_case() -> None:
    """So docs/models.md has no row without a test."""
    tested = {tiny.architecture_of(case).name for case in (*tiny.CASES, *tiny.ENCODERS)}
    assert {entry.name for entry in architectures()} == tested | ELSEWHERE
