"""How models are named, and which file names from elsewhere may become paths: the same rules on every system."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from pacos.errors import UsageError

PREFERRED = ("Q4_K_M", "Q4_K_S", "Q4_0", "IQ4_XS", "IQ4_NL", "MXFP4", "Q5_K_M", "Q4_1", "Q6_K", "Q8_0")
_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_DEVICE = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?", re.IGNORECASE)
_SHARD = re.compile(r"(?P<start>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})")
_QUANT = re.compile(
    r"(?:^|[-._])((?:UD-)?(?:I?Q[1-8](?:_[A-Z0-9]+)*|TQ[12]_0|B?F16|FP16|FP?32|MXFP4(?:_MOE)?|NVFP4))$", re.IGNORECASE
)
HUB_STARTS = ("hf.co/", "huggingface.co/", "hf:")
OLLAMA_START = "ollama:"  # of names of its registry
_SLASHES = "\u2044\u2215\u2216\u29f5\u29f8\u29f9\uff0f\uff3c"  # what looks like a slash
_PARTS_MAX = 40
_PATH_BYTES_MAX = 255  # of one part
_HINT = "use letters, digits, '.', '_' and '-', parts apart by '/', and perhaps :TAG at the end"


@dataclass(frozen=True, slots=True)
class HubName:
    """A model of a hub: "org/name", perhaps with the quantization or the file that is meant."""

    repo: str
    quant: str = ""
    file: str = ""

    def __str__(self) -> str:
        return self.repo + (f"/{self.file}" if self.file else f":{self.quant}" if self.quant else "")


def checked_name(name: object) -> str:
    """A name that a model may get. Errors: UsageError saying what is wrong with it."""
    if not isinstance(name, str) or not 0 < len(name) <= 200:
        raise UsageError(f"{name!a:.80} cannot be a model's name", hint="use 1 to 200 characters")
    whole, colon, tag = name.partition(":")
    parts = [*whole.split("/"), *([tag] if colon else [])]
    for part in parts:
        if not _PART.fullmatch(part) or _DEVICE.fullmatch(part) or part.endswith("."):
            raise UsageError(f"{name!a:.80} cannot be a model's name", hint=_HINT)
    return name


def hub_name(text: str) -> HubName | None:
    """What "org/name", "org/name:QUANT" and "org/name/FILE" mean; None for a text of another form."""
    for start in HUB_STARTS:
        text = text.removeprefix(start)
    whole, _, quant = text.partition(":")
    owner, _, rest = whole.partition("/")
    name, _, file = rest.partition("/")
    if not all(_PART.fullmatch(part) for part in (owner, name)) or (quant and not re.fullmatch(r"[\w.-]{1,80}", quant)):
        return None
    if text.endswith(":") or (file and quant):
        return None
    if quant.lower().endswith(".gguf"):
        return HubName(f"{owner}/{name}", file=quant)
    return HubName(f"{owner}/{name}", "" if quant == "latest" else quant, file)


def is_elsewhere(text: str) -> bool:
    """Whether a text says by its form that a model comes from a registry or a plain address, and from which."""
    return text.startswith((OLLAMA_START, "https://", "http://"))


def relative_path(text: object) -> str:
    """A file name from elsewhere that is safe under the rules of POSIX and of Windows.

    Errors: UsageError for one that would leave its folder, or mean something else on another system.
    """
    refused = UsageError(f"a file is named {text!a:.120}, which is not safe", hint="it is not downloaded")
    if not isinstance(text, str) or not text:
        raise refused
    parts = text.split("/")
    if len(parts) > _PARTS_MAX:
        raise refused
    for part in parts:
        bad = any(ord(c) < 32 or c in '\\:*?"<>|\x7f' + _SLASHES or not c.isprintable() for c in part)
        if bad or part in ("", ".", "..", "~") or part[0] == "~" or part[-1] in ". " or part.lower() == ".git":
            raise refused
        wide = unicodedata.normalize("NFKC", part)
        if (".." in wide and ".." not in part) or "\\" in wide or _DEVICE.fullmatch(part):
            raise refused
        if len(part.encode("utf-8", "surrogatepass")) > _PATH_BYTES_MAX:
            raise refused
    return text


def shard_of(stem: str) -> tuple[str, int, int]:
    """A file name without its ending: what all parts begin with, the number of this one, from 1, and of all."""
    found = _SHARD.fullmatch(stem)
    return (found["start"], int(found["number"]), int(found["count"])) if found else (stem, 1, 1)


def quant_of(file: str) -> str:
    """The quantization that a file's name tells, in capitals; "" where it tells none."""
    stem, _, _ = shard_of(file.rpartition("/")[2].removesuffix(".gguf"))
    found = _QUANT.search(stem)
    if found is None and "/" in file:  # Q4_K_M/model-00001-of-00002.gguf
        found = _QUANT.search(file.rpartition("/")[0])
    return found[1].upper() if found else ""


def preference(quant: str) -> tuple[int, str]:
    """Sorts quantizations: the one that is taken where nobody said which comes first."""
    bare = quant.removeprefix("UD-")
    return (PREFERRED.index(bare) if bare in PREFERRED else len(PREFERRED), quant)
