"""Matrix kernels of instruction sets that this machine lacks, in emulators, against numpy, to the bit."""

from __future__ import annotations

from pathlib import Path

import pytest
from emulation import ON_QEMU, ON_SIMDE, build, differences, missing


@pytest.mark.slow
@pytest.mark.parametrize("isa", [*ON_SIMDE, *ON_QEMU])
def test_emulated_kernels_equal_numpy(isa: str, tmp_path: Path) -> None:
    lacking = missing(isa)
    if lacking:
        pytest.skip(f"needs {lacking}")
    assert differences(build(isa, tmp_path), tmp_path) == []
