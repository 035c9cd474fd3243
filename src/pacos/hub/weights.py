"""Find the weights of a Hugging Face folder: safetensors, or else PyTorch's checkpoints."""

from __future__ import annotations

from pathlib import Path

from pacos.errors import FormatError, ModelNotFound
from pacos.formats.mapped import MappedArchive
from pacos.formats.safetensors import INDEX_NAME, plain_name, read_safetensors
from pacos.formats.torch_zip import read_torch_files
from pacos.hub.hf_files import read_json

TORCH_NAME = "pytorch_model.bin"
TORCH_INDEX_NAME = "pytorch_model.bin.index.json"


def read_weights(folder: Path) -> MappedArchive:
    """Open the weights under their own names; safetensors win where both are there.

    Errors: ModelNotFound, FormatError, UnsupportedModel.
    """
    if any(folder.glob("*.safetensors")) or (folder / INDEX_NAME).exists():
        return read_safetensors(folder)
    if (folder / TORCH_INDEX_NAME).is_file():
        placed = read_json(folder / TORCH_INDEX_NAME).get("weight_map")
        if not isinstance(placed, dict) or not all(plain_name(name, ".bin") for name in placed.values()):
            raise FormatError(f"{folder / TORCH_INDEX_NAME}: no weight_map with plain file names")
        return read_torch_files(folder, [folder / name for name in sorted(set(placed.values()))])
    if (folder / TORCH_NAME).is_file():
        return read_torch_files(folder, [folder / TORCH_NAME])
    raise ModelNotFound(f"{folder}: there are no weights, neither *.safetensors nor {TORCH_NAME}", hint="download them")
