"""How folders of some Hugging Face classes hold a family: tensor names, and config.json in GGUF's words.

Everything that opening and converting a folder needs to know of a family stands in one of these, beside its model
function; `hub` does the reading and writing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pacos.errors import UnsupportedModel
from pacos.models.hf_words import filled
from pacos.models.tensor_names import Config, Names, NameTable

Reader = Callable[[Config], Mapping[str, Any]]

SILU = ("silu", "swish")
# Classes of folders whose configs name none, by a key that these alone have.
UNNAMED_CLASSES = {"ssm_cfg": "MambaLMHeadModel"}
# What changes the computation in a way that few families have, and the value that is harmless.
_REFUSED: tuple[tuple[str, Any], ...] = (
    ("scale_attn_by_inverse_layer_idx", False),
    ("scale_attn_weights", True),
    ("add_cross_attention", False),
    ("use_bidirectional_attention", False),
    ("num_experts", 0),
    ("position_embedding_type", "absolute"),
    ("is_decoder", False),
    ("num_local_experts", 0),
    ("per_layer_config", {}),
)
_ACTIVATION_KEYS = ("hidden_activation", "hidden_act", "activation_function")
_NEEDLESS = re.compile(r"rotary_emb\.inv_freq$")
_SENSES = re.compile(
    r"(^|\.)(vision_tower|vision_model|visual|vit|mlp_AR|vqmodel|audio_tower|multi_modal_projector|embed_vision|embed_audio)\."
)
_LAYER = re.compile(r"(?:^|\.)layers\.(\d{1,4})\.")
_FLOATS = ("epsilon", "freq_base", "freq_base_swa", "factor", "softcapping", "scale", "_fast", "_slow")


def no_factors(_: Config) -> Mapping[str, list[float]]:
    """No tensors but those of the files."""
    return {}


def whatever_it_says(_: Config) -> bool:
    """Every config of the class."""
    return True


@dataclass(frozen=True, slots=True)
class HuggingFace:
    """Folders of some classes, as config.json's `architectures` names them.

    `metadata` reads a config whose gaps `defaults` have filled, as transformers' own configuration class would, into
    GGUF keys without the architecture's prefix; None is left out. `activations` lists what the model function
    computes; `reads` names keys that this family handles and others refuse, `refuses` more keys with the value, or
    the tuple of values, that is computed. `vectors` makes tensors out of the config, such as rotary factors; `numbers`
    names tensors of one number a layer that are metadata in GGUF. Of tensors that files may hold, `needless` matches
    buffers that nobody needs, `heads` parts of classifiers that other models have too, `adapters` those of single
    tasks, and `zeros` what is needed only where it is not 0. With `ties_by_weights` an output that differs from the
    embedding is one, and one that is missing is tied, whatever the config says. Where several families share a class,
    `fits` says whether a config, its gaps filled, is of this one.
    """

    classes: tuple[str, ...]
    names: Names
    metadata: Reader
    defaults: Mapping[str, Any] = field(default_factory=dict)
    activations: tuple[str, ...] = SILU
    reads: tuple[str, ...] = ()
    refuses: tuple[tuple[str, Any], ...] = ()
    numbers: Mapping[str, str] = field(default_factory=dict)
    vectors: Callable[[Config], Mapping[str, list[float]]] = no_factors
    prefixes: tuple[str, ...] = ("model.", "language_model.", "model.", "transformer.")
    needless: str = ""
    heads: str = r"pooler\."
    adapters: str = ""
    zeros: str = ""
    ties_by_weights: bool = False
    fits: Callable[[Config], bool] = whatever_it_says

    def filled(self, config: Config) -> dict[str, Any]:
        """The config with what its class would fill in; of a model that sees or hears too, the part for text."""
        text = config.get("text_config")
        return filled({**config, **(text if isinstance(text, dict) else {})}, self.defaults)

    def is_tied(self, config: Config) -> bool:
        """Whether the output shares the embedding's weights."""
        return bool(self.filled(config).get("tie_word_embeddings"))

    @property
    def turns(self) -> bool:
        """Whether rows of queries and keys lie in another order than in GGUF files."""
        return any(name.rotary for name in self.names)

    def table(self) -> NameTable:
        """The rows, to be found by the names that files use."""
        return NameTable(self.names, self.prefixes)

    def is_sense(self, name: str) -> bool:
        """Whether the tensor is of a part that sees or hears."""
        return bool(_SENSES.search(name))

    def is_guess(self, name: str, layers: object) -> bool:
        """Whether the tensor is of a layer behind the others, which guesses further tokens."""
        layer = _LAYER.search(name)
        return layer is not None and isinstance(layers, int) and int(layer[1]) >= layers

    def is_needless(self, name: str) -> bool:
        """Whether nobody needs the tensor."""
        return bool(_NEEDLESS.search(name) or (self.needless and re.search(self.needless, name)))

    def is_adapter(self, name: str) -> bool:
        """Whether the tensor is of an adapter for a single task."""
        return bool(self.adapters and re.search(self.adapters, name))

    def is_needless_at_zero(self, name: str) -> bool:
        """Whether nobody needs the tensor where it is 0."""
        return bool(self.zeros and re.search(self.zeros, name))

    def is_idle_head(self, name: str) -> bool:
        """Whether nobody needs the tensor unless the model classifies."""
        return bool(re.search(self.heads, name))

    def metadata_of(self, architecture: str, given: Config) -> dict[str, Any]:
        """Metadata, keys with the architecture's prefix; values are checked when hyper-parameters are read.

        Errors: UnsupportedModel for a setting that the family's model function does not compute.
        """
        config = self.filled(given)
        self._refuse(architecture, config)
        found = self.metadata(config)
        return {f"{architecture}.{key}": _typed(key, value) for key, value in found.items() if value is not None}

    def _refuse(self, architecture: str, config: Config) -> None:
        activation = next((config[key] for key in _ACTIVATION_KEYS if config.get(key)), None)
        if activation is not None and activation not in self.activations:
            needed = f"needed for {architecture}: {' or '.join(self.activations)}"
            raise UnsupportedModel(f"config.json: the activation is {activation!a}, {needed}")
        for key, harmless in (*(one for one in _REFUSED if one[0] not in self.reads), *self.refuses):
            value = config.get(key)
            allowed = harmless if isinstance(harmless, tuple) else (harmless,)
            if value is not None and value not in allowed:
                needed = " or ".join(ascii(one) for one in allowed)
                raise UnsupportedModel(f"config.json: {key} is {value!a}, supported is {needed} alone")


def _typed(key: str, value: Any) -> Any:
    return float(value) if key.endswith(_FLOATS) and type(value) is int else value
