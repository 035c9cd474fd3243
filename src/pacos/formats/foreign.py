"""Name the files that people hand over by mistake: web pages, Git LFS pointers, pickles, archives, programs.

Source: the magic numbers of the formats' own specifications. Such files are never opened past their first bytes.
"""

from __future__ import annotations

from pacos.errors import FormatError
from pacos.formats.wording import shown

HEAD_BYTES = 512

_DOWNLOAD = "download it again; the link may need a login, or point at a page instead of the file"
_PICKLE = "checkpoints from before PyTorch 1.6 are not read; save it again, or get the model as safetensors or GGUF"
_UNPACK = "unpack it and give the model file inside"
_MODELS = "Pacos reads GGUF files, Hugging Face folders, PyTorch checkpoints, GGML and llama2.c files"
_WHOLE = "give the file itself as the model"

_MAGICS: tuple[tuple[bytes, str, str], ...] = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself", "run `git lfs pull`, or download the file"),
    (b"PK\x03\x04", "a ZIP archive, no PyTorch checkpoint", _UNPACK),
    (b"PK\x05\x06", "an empty ZIP archive", _MODELS),
    (b"\x80\x02", "a pickle", _PICKLE),
    (b"\x80\x03", "a pickle", _PICKLE),
    (b"\x80\x04", "a pickle", _PICKLE),
    (b"\x80\x05", "a pickle", _PICKLE),
    (b"\x89HDF", "an HDF5 file", _MODELS),
    (b"\x93NUMPY", "a numpy array file", _MODELS),
    (b"\x7fELF", "an ELF program", _MODELS),
    (b"MZ", "a Windows program", _MODELS),
    (b"\xcf\xfa\xed\xfe", "a macOS program", _MODELS),
    (b"\x1f\x8b", "a gzip file", _UNPACK),
    (b"\x28\xb5\x2f\xfd", "a zstd file", _UNPACK),
    (b"\xfd7zXZ\x00", "an xz file", _UNPACK),
    (b"BZh", "a bzip2 file", _UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", _UNPACK),
    (b"lmgg", "a GGML file from before 2023-10", _WHOLE),
    (b"fmgg", "a GGMF file from before 2023-10", _WHOLE),
    (b"tjgg", "a GGJT file from before 2023-10", _WHOLE),
    (b"algg", "a GGLA adapter from before 2023-10", "get the adapter as GGUF"),
    (b"nsgg", "a saved session of llama.cpp", _MODELS),
    (b"%PDF", "a PDF document", _MODELS),
    (b"\x89PNG", "a picture", _MODELS),
    (b"\xff\xd8\xff", "a picture", _MODELS),
    (b"RIFF", "a sound or video file", _MODELS),
    (b"FUGG", "a GGUF file with its magic number reversed (big-endian?)", "get the little-endian file"),
)


def identify(head: bytes) -> tuple[str, str]:
    """What the first bytes look like, and a hint for the user."""
    for magic, what, hint in _MAGICS:
        if head.startswith(magic):
            return what, hint
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype", b"<html", b"<head", b"<?xml", b"<!--")):
        return "a web page (HTML or XML)", _DOWNLOAD
    if text.startswith((b"{", b"[")):
        return "a JSON text", f"{_DOWNLOAD}. {_MODELS}"
    if head[257:262] == b"ustar":
        return "a tar archive", _UNPACK
    if head and not head.strip(b"\0"):
        return "filled with zeros (an unfinished download?)", "download it again"
    if all(byte >= 0x20 or byte in b"\t\r\n" for byte in head):
        return f"a text: {shown(head[:40].decode('utf-8', 'replace'))}", _MODELS
    return f"something that begins with the bytes {head[:8].hex(' ')}", _MODELS


def wrong_magic(path: object, head: bytes, wanted: str) -> FormatError:
    """The error for a file that is not `wanted`, saying what it is instead."""
    if not head:
        return FormatError(f"{path}: the file is empty, not {wanted}", hint="download it again")
    what, hint = identify(head)
    return FormatError(f"{path}: not {wanted}, but {what}", hint=hint)
