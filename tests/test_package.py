"""The wheel and the source distribution hold what they must, and a wheel runs from where it is unpacked."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "pacos"


def load_compile() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pacos_compile", ROOT / "build" / "compile.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def distribution(kind: str, folder: Path) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "--target", kind, "--directory", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (made,) = folder.iterdir()
    return made


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compile_module = load_compile()
    try:
        compile_module.find_compiler()
    except compile_module.BuildError:
        pytest.skip("no compiler here: the install has built the library in an environment of its own")
    return distribution("wheel", tmp_path_factory.mktemp("wheel"))


def test_one_wheel_serves_every_python_of_the_platform(wheel: Path) -> None:
    python, abi, platform = wheel.stem.split("-")[2:]
    assert (python, abi) == ("py3", "none")
    assert platform != "any"


def test_wheel_holds_library_data_and_no_sources(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    shipped = [path for path in SOURCE.rglob("*") if path.suffix in {".py", ".jinja", ".gguf", ".md", ".h", ".typed"}]
    shipped += [path for path in (SOURCE / "web").rglob("*") if path.is_file()]  # the page, libraries and licences
    wanted = {f"pacos/{path.relative_to(SOURCE).as_posix()}" for path in [*shipped, SOURCE / "py.typed"]}
    assert wanted <= names
    assert len([name for name in names if name.startswith(("pacos/native/libpacos.", "pacos/native/pacos.dll"))]) == 1
    assert not [name for name in names if name.endswith((".cpp", ".hpp", ".o"))]


def test_wheel_runs_from_where_it_is_unpacked(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    code = "import pacos, pacos.native; pacos.native.library(); print(pacos.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()) == tmp_path / "pacos" / "__init__.py"


def test_source_distribution_holds_all_that_a_build_needs(tmp_path: Path) -> None:
    with tarfile.open(distribution("sdist", tmp_path)) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    code = [
        path for path in SOURCE.rglob("*") if path.suffix in {".py", ".cpp", ".hpp", ".h", ".inc", ".jinja", ".gguf"}
    ]
    wanted = {path.relative_to(ROOT).as_posix() for path in code}
    assert wanted <= names
    assert {"build/compile.py", "build/hook.py", "pyproject.toml", "README.md", "LICENSE", "Makefile"} <= names
    assert not [name for name in names if "build/cache" in name or name.endswith((".so", ".dll", ".dylib", ".o"))]


def test_every_instruction_set_has_its_architecture() -> None:
    compile_module = load_compile()
    portable = compile_module.Compiler(("zig", "c++"), "zig", zig=True)
    for target in compile_module.TARGETS.values():
        words = {unit.source.stem.rpartition("_")[2] for unit in compile_module.units(target, portable)}
        foreign = {word for word, (arch, *_) in compile_module.INSTRUCTION_SETS.items() if arch != target.arch}
        assert not words & foreign
        assert not any("-march=native" in unit.flags for unit in compile_module.units(target, portable))


def test_a_changed_header_changes_the_objects_that_reach_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compile_module = load_compile()
    package = tmp_path / "src" / "pacos"
    package.mkdir(parents=True)
    (package / "a.cpp").write_text('#include "a.hpp"\n')
    (package / "b.cpp").write_text("int b;\n")
    (package / "a.hpp").write_text('#include "deep.hpp"\n')
    (package / "deep.hpp").write_text("int a;\n")
    monkeypatch.setattr(compile_module, "ROOT", tmp_path)
    monkeypatch.setattr(compile_module, "PACKAGE", package)
    monkeypatch.setattr(compile_module, "INCLUDE_FOLDERS", (package,))
    compiler = compile_module.Compiler(("c++",), "1")

    def objects() -> dict[str, Path]:
        found = compile_module.units(compile_module.TARGETS["x86_64-linux-musl"], compiler)
        return {unit.source.name: unit.object for unit in found}

    before = objects()
    (package / "deep.hpp").write_text("long a;\n")
    after = objects()
    assert after["a.cpp"] != before["a.cpp"]
    assert after["b.cpp"] == before["b.cpp"]
