"""Whatever bytes come, opening a GGUF file ends in a model or in one line of error."""

from __future__ import annotations

from pathlib import Path

from gguf_builder import Parts, array_pair, check_message, pair, tensor, two_tensors
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pacos.errors import FormatError, UnsupportedModel
from pacos.formats.gguf import read_gguf


def outcome(path: Path) -> str:
    """How opening ends; anything but success or a ModelError fails the test."""
    try:
        with read_gguf(path) as archive:
            for name, entry in archive.tensors.items():
                assert len(archive.data(name)) == entry.nbytes
            for value in archive.metadata.values():
                assert isinstance(value, int | float | str) or len(list(value)) == len(value)
    except (FormatError, UnsupportedModel) as error:
        check_message(error)
        return "refused"
    return "read"


FUZZED = settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])


@FUZZED
@given(st.lists(st.tuples(st.integers(0, 700), st.integers(0, 255)), min_size=1, max_size=4))
@example([(8, 255)])
def test_flipped_bytes(tmp_path: Path, flips: list[tuple[int, int]]) -> None:
    content = bytearray(bytes(two_tensors()))
    for at, byte in flips:
        content[at % len(content)] = byte
    path = tmp_path / "flipped.gguf"
    path.write_bytes(content)
    assert outcome(path) in ("refused", "read")


NUMBERS = st.sampled_from([0, 1, 2, 3, 31, 32, 33, 64, 255, 2**31, 2**32 - 1, 2**60, 2**63 - 1, 2**63, 2**64 - 1])
KEYS = st.sampled_from(["general.architecture", "general.alignment", "split.count", "split.no", "k", "", "a\n"])
SCALARS = st.builds(pair, KEYS, st.integers(0, 14), st.binary(max_size=12))
ARRAYS = st.builds(array_pair, KEYS, st.integers(0, 14), NUMBERS, st.binary(max_size=40))
TENSORS = st.builds(
    tensor,
    st.sampled_from(["a", "b", "token_embd.weight", "", "../x"]),
    st.lists(NUMBERS, max_size=5),
    st.one_of(st.integers(0, 45), st.just(2**32 - 1)),
    NUMBERS,
)


@FUZZED
@given(
    st.builds(
        Parts,
        pairs=st.lists(SCALARS | ARRAYS, max_size=4),
        tensors=st.lists(TENSORS, max_size=4),
        data=st.binary(max_size=200),
        alignment=st.sampled_from([1, 32]),
        tensor_count=st.none() | NUMBERS,
        pair_count=st.none() | NUMBERS,
    )
)
def test_sound_framing_with_hostile_values(tmp_path: Path, parts: Parts) -> None:
    assert outcome(parts.save(tmp_path)) in ("refused", "read")
