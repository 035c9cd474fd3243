"""Damaged and hostile GGUF files, headers and metadata: a one-line error that names what and where."""

from __future__ import annotations

import os
import resource
import socket
from pathlib import Path

import pytest
from gguf_builder import Parts, array_pair, pair, refused, tensor, text, two_tensors, u32, u64

from pacos.errors import CapacityError, FormatError, ModelNotFound
from pacos.formats import mapped, open_archive
from pacos.formats.cursor import Cursor
from pacos.formats.gguf import read_gguf

LLAMA = pair("general.architecture", "STRING", text("llama"))


def refused_pair(folder: Path, raw: bytes) -> str:
    """The message for a file with this one metadata entry behind a sound one."""
    return refused(Parts([LLAMA, raw], data=bytes(64)).save(folder))


# ---- what is no GGUF file


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file is empty"),
        (b"G", "not a GGUF file"),
        (b"FUGG" + bytes(60), "reversed"),
        (b"GGML" + bytes(60), "not a GGUF file, but something that begins with the bytes 47 47 4d 4c"),
        (b"lmgg" + bytes(60), "a GGML file from before 2023-10"),
        (b"PK\3\4" + bytes(60), "a ZIP archive, no PyTorch checkpoint"),
        (b"\x7fELF" + bytes(60), "an ELF program"),
        (b"\x80\x04\x95" + bytes(60), "a pickle"),
        (b"<!DOCTYPE html><html>", "a web page .*download it again"),
        (b"\r\n <html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:", "a Git LFS pointer.*git lfs pull"),
        (b'{"error":"Repository not found"}', "a JSON text"),
        (b"Access denied\x0a", "a text: Access denied"),
        (bytes(1000), "filled with zeros"),
        (b"\x1f\x8b" + bytes(60), "a gzip file .*unpack it"),
        (b"x" * 257 + b"ustar" + bytes(60), "a tar archive"),
    ],
)
def test_other_files_are_recognised(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=words):
        read_gguf(path)
    refused(path)
    with pytest.raises(FormatError):
        open_archive(path)


@pytest.mark.parametrize(
    ("version", "words"),
    [
        (0, "GGUF version 0"),
        (1, "in the header|in tensor|in key"),  # its lengths have 32 bits
        (4, "GGUF version 4, needed is 1 to 3"),
        (2**32 - 1, "GGUF version 4294967295"),
        (0x03000000, "tensors, at most"),  # its numbers are big-endian
        (0x05000000, "GGUF version 83886080"),
    ],
)
def test_other_versions_are_named(tmp_path: Path, version: int, words: str) -> None:
    parts = two_tensors()
    parts.version = version
    with pytest.raises(FormatError, match=words):
        read_gguf(parts.save(tmp_path))


# ---- paths


def test_a_folder_a_pipe_a_socket_and_devices_are_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "a folder" in refused(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    assert "a pipe" in refused(tmp_path / "pipe")
    assert "a device" in refused(Path("/dev/zero"))
    assert "a device" in refused(Path("/dev/random"))
    assert "empty" in refused(Path("/proc/self/mem"))
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("sock")
        assert "a socket" in refused(Path("sock"))


def test_paths_that_lead_nowhere(tmp_path: Path) -> None:
    assert "No such file" in refused(tmp_path / "missing.gguf", ModelNotFound)
    assert "No such file" in refused(tmp_path / "new\nline\x1b[31m"[:3], ModelNotFound)
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    assert "a link that leads nowhere" in refused(tmp_path / "dangling", ModelNotFound)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert "a link that leads nowhere" in refused(tmp_path / "loop", ModelNotFound)
    (tmp_path / "file").write_bytes(b"GGUF")
    assert "Not a directory" in refused(tmp_path / "file" / "below", ModelNotFound)
    assert "too long" in refused(tmp_path / ("x" * 5000), ModelNotFound)


@pytest.mark.parametrize("name", ["a\0b", "a\nb", "a\x1b[31mb", "a\udcffb", "a\u202eb"])
def test_paths_of_odd_characters_are_shown_escaped(name: str) -> None:
    with pytest.raises(ModelNotFound) as caught:
        read_gguf(name)
    assert str(caught.value).isprintable()
    assert str(caught.value).startswith("a\\")


def test_a_file_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = two_tensors().save(tmp_path)

    def denied(*_: object, **__: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(mapped.os, "open", denied)
    assert "Permission denied" in refused(path)


def test_no_room_in_the_address_space(tmp_path: Path) -> None:
    path = tmp_path / "sparse.gguf"
    path.write_bytes(bytes(two_tensors()))
    os.truncate(path, 1 << 40)
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (64 << 30, hard))
    try:
        with pytest.raises(CapacityError, match=r"cannot map 1099511627776 bytes \(1.0 TiB\)"):
            read_gguf(path)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def test_no_descriptor_is_left_behind(tmp_path: Path) -> None:
    sound, broken = two_tensors().save(tmp_path), tmp_path / "broken.gguf"
    broken.write_bytes(sound.read_bytes()[:200])
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        refused(broken)
        read_gguf(sound).close()
    assert len(os.listdir("/proc/self/fd")) == before


# ---- truncation


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    sound = two_tensors()
    sound.tensors.append(tensor("long", (8192,), 0, 96))
    sound.data += bytes(4 * 8192)
    content = bytes(sound)
    path = tmp_path / "cut.gguf"
    path.write_bytes(content)
    read_gguf(path).close()
    for length in sorted({*range(4096), *range(4096, len(content), 4096), len(content) - 1}, reverse=True):
        os.truncate(path, length)
        with pytest.raises(FormatError):
            read_gguf(path)


def test_a_cut_file_names_the_sizes(tmp_path: Path) -> None:
    parts = two_tensors()
    whole = len(bytes(parts)) - 30
    parts.data = parts.data[:40]
    message = refused(parts.save(tmp_path))
    assert "the file ends inside tensor output.weight" in message
    assert f"download incomplete? expected {whole} bytes, the file has {whole - 26}" in message


def test_a_cut_header_names_the_key(tmp_path: Path) -> None:
    path = tmp_path / "cut.gguf"
    content = bytes(two_tensors())
    path.write_bytes(content[: content.index(b"a.double") + 14])
    assert "the file ends inside key a.double: 8 bytes needed" in refused(path)


# ---- keys and values


@pytest.mark.parametrize("length", [2**64 - 1, 2**63, 2**63 - 1, 2**40, 200, 2**64 - 60])
def test_lengths_that_pass_the_end(tmp_path: Path, length: int) -> None:
    refused_pair(tmp_path, u64(length) + b"key")
    assert "in key words" in refused_pair(tmp_path, pair("words", "STRING", u64(length) + b"x")).replace("inside", "in")
    refused(Parts(tensors=[u64(length) + b"name" + bytes(30)]).save(tmp_path))


def test_a_string_that_ends_with_the_file(tmp_path: Path) -> None:
    content = bytes(Parts([pair("k", "STRING", text("to the end"))], alignment=1))
    path = tmp_path / "exact.gguf"
    path.write_bytes(content)
    read_gguf(path).close()
    path.write_bytes(content.replace(u64(10) + b"to", u64(11) + b"to"))
    assert "the file ends inside key k: 11 bytes needed at byte 45, 10 left" in refused(path)


@pytest.mark.parametrize("key", [b"", b"\xff\xfe", b"a\0b", b"a\nb", b"a\x1b[31mb", "a\u202eb".encode()])
def test_keys_that_are_no_names(tmp_path: Path, key: bytes) -> None:
    assert "metadata key 2" in refused_pair(tmp_path, pair(key, "U8", b"\1"))


def test_keys_twice_are_refused_and_case_matters(tmp_path: Path) -> None:
    assert "the key appears twice" in refused(Parts([LLAMA, LLAMA]).save(tmp_path))
    assert "the key appears twice" in refused(Parts([LLAMA, pair("general.architecture", "U8", b"\1")]).save(tmp_path))
    with read_gguf(Parts([pair("k", "U8", b"\1"), pair("K", "U8", b"\2")]).save(tmp_path)) as archive:
        assert dict(archive.metadata) == {"k": 1, "K": 2}


@pytest.mark.parametrize("number", [13, 255, 2**32 - 1])
def test_unknown_value_types(tmp_path: Path, number: int) -> None:
    assert f"value type {number} is unknown" in refused_pair(tmp_path, pair("k", number, bytes(8)))
    assert f"value type {number} is unknown" in refused_pair(tmp_path, array_pair("k", number, 2**60, bytes(8)))


@pytest.mark.parametrize("depth", [1, 10_000])
def test_arrays_of_arrays_are_refused(tmp_path: Path, depth: int) -> None:
    nested = (u32(9) + u64(1)) * depth + u32(4) + u64(1) + u32(7)
    assert "arrays of arrays" in refused_pair(tmp_path, pair("k", "ARRAY", nested))


@pytest.mark.parametrize("kind", ["U8", "U64", "F32", "BOOL", "STRING"])
@pytest.mark.parametrize("count", [2**64 - 1, 2**63, 2**61, 2**60, 2**32, 300])
def test_arrays_that_claim_too_much(tmp_path: Path, kind: str, count: int) -> None:
    assert "in key k" in refused_pair(tmp_path, array_pair("k", kind, count, bytes(16)))


def test_a_million_strings_of_a_terabyte(tmp_path: Path) -> None:
    message = refused_pair(tmp_path, array_pair("k", "STRING", 1_000_000, u64(2**40) * 1_000_000))
    assert "string 0 of 1000000" in message


@pytest.mark.parametrize("byte", [2, 255])
def test_bools_are_zero_or_one(tmp_path: Path, byte: int) -> None:
    assert f"a bool is 0 or 1, not {byte}" in refused_pair(tmp_path, pair("k", "BOOL", bytes([byte])))
    assert "a bool is neither 0 nor 1" in refused_pair(tmp_path, array_pair("k", "BOOL", 3, bytes([1, 0, byte])))


# ---- alignment


@pytest.mark.parametrize("value", [0, 3, 13, 24, 2**21, 2**31, 2**32 - 1])
def test_alignments_that_are_none(tmp_path: Path, value: int) -> None:
    assert f"general.alignment is {value}" in refused_pair(tmp_path, pair("general.alignment", "U32", u32(value)))


@pytest.mark.parametrize(
    "raw",
    [
        pair("general.alignment", "I32", u32(32)),
        pair("general.alignment", "U64", u64(32)),
        pair("general.alignment", "STRING", text("32")),
        pair("general.alignment", "BOOL", b"\1"),
        array_pair("general.alignment", "U32", 1, u32(32)),
    ],
)
def test_alignment_of_another_type(tmp_path: Path, raw: bytes) -> None:
    assert "general.alignment must be one U32" in refused_pair(tmp_path, raw)


def test_data_laid_out_for_another_alignment(tmp_path: Path) -> None:
    parts = two_tensors()
    parts.pairs[1] = pair("general.alignment", "U32", u32(64))
    assert "the tensor's offset 32 is no multiple of the alignment 64" in refused(parts.save(tmp_path))


# ---- text from the file


def test_text_from_the_file_cannot_act_on_a_terminal(tmp_path: Path) -> None:
    key = "evil\x1b]0;title\x07" + "\u202e" * 1000
    message = refused_pair(tmp_path, pair(key, "U8", b"\1"))
    assert "evil\\x1b]0;title\\x07\\u202e" in message
    assert "(1014 characters)" in message


def test_the_cursor_proves_before_it_reads(tmp_path: Path) -> None:
    file = mapped.MappedFile(two_tensors().save(tmp_path))
    cursor = Cursor(file)
    assert cursor.take(file.size) == 0
    assert cursor.take(0) == file.size
    for nbytes in (1, 2**64, 2**200):
        with pytest.raises(FormatError, match="the file ends inside the header"):
            cursor.take(nbytes)
    file.close()
