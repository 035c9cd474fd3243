"""The house rules that a machine can check: rings, sizes, words, docstrings, and the surface of the native library."""

from __future__ import annotations

import ast
import ctypes
import re
import zlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from pacos import native

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "pacos"
RINGS = {
    **dict.fromkeys(("errors", "log"), 0),
    **dict.fromkeys(("settings", "types", "native", "lazy"), 1),
    **dict.fromkeys(("ir", "quants"), 2),
    **dict.fromkeys(("formats", "models", "backends", "text"), 3),
    **dict.fromkeys(("engine", "hub", "sessions"), 4),
    "llm": 5,
    **dict.fromkeys(("server", "cluster", "pack"), 6),
    "cli": 7,
}
# Of all lower rings, these parts see only the ones named here besides rings 0 and 1.
MAY_SEE = {
    "formats": {"quants"},
    "models": {"ir"},
    "backends": {"ir", "quants"},
    "text": set(),
    "sessions": set(),
    **{door: {"llm", "hub", "sessions"} for door in ("server", "cluster", "pack")},
}
LINES_PER_FUNCTION = 60
LINES_PER_FILE = 400
FORBIDDEN_FILES = {"utils", "util", "common", "helpers", "helper", "misc", "base", "manager"}
FORBIDDEN_ENDINGS = re.compile(r"(Manager|Helper|Base|Utils?|Impl|Info)$")
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:work|root|home/\w+|Users/\w+)/")

SOURCES = sorted(PACKAGE.rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
OURS = [*SOURCES, *TESTS, *sorted((ROOT / "build").glob("*.py")), *sorted((ROOT / "bench").glob("*.py"))]


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def part(module: str) -> str | None:
    """`pacos.text.stream` -> `text`; None for the package itself and for foreign modules."""
    pieces = module.split(".")
    return pieces[1] if pieces[0] == "pacos" and len(pieces) > 1 else None


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Each part of pacos that a file imports, wherever in the file, and the line."""
    package = ["pacos", *path.relative_to(PACKAGE).parent.parts]
    for node in ast.walk(tree(path)):
        modules: list[str] = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*start, *([node.module] if node.module else [])])
            modules = [f"{module}.{alias.name}" for alias in node.names] if module == "pacos" else [module]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module") and node.args:
            first = node.args[0]
            text = first.values[0] if isinstance(first, ast.JoinedStr) else first
            modules = [text.value] if isinstance(text, ast.Constant) and isinstance(text.value, str) else []
        yield from ((found, node.lineno) for module in modules if (found := part(module)) and found[:2] != "__")


def test_every_part_has_a_ring() -> None:
    names = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in SOURCES} - {"__init__", "__main__"}
    assert names <= set(RINGS), f"give {sorted(names - set(RINGS))} a ring in this test and in docs/architecture.md"


def test_parts_import_only_from_lower_rings() -> None:
    wrong = []
    for path in SOURCES:
        own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if own in {"__init__", "__main__"}:  # the package's own names, above all rings
            continue
        for other, line in imports(path):
            seen = RINGS.get(other, 99)
            allowed = seen < RINGS[own] and (seen <= 1 or own not in MAY_SEE or other in MAY_SEE[own])
            if other != own and not allowed:
                wrong.append(f"{name(path)}:{line}: {own} (ring {RINGS[own]}) imports {other} (ring {seen})")
    assert not wrong, "\n".join(wrong)


def test_engine_sees_of_a_backend_only_its_protocols() -> None:
    found = [
        f"{name(path)}:{node.lineno}: {node.module}"
        for path in SOURCES
        if path.is_relative_to(PACKAGE / "engine")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pacos.backends.")
    ]
    assert not found, "\n".join(found)


def test_files_and_functions_stay_small() -> None:
    wrong = []
    for path in [*SOURCES, *TESTS]:
        lines = len(path.read_text(encoding="utf-8").splitlines())
        if lines > LINES_PER_FILE:
            wrong.append(f"{name(path)}: {lines} lines, at most {LINES_PER_FILE}")
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                if lines > LINES_PER_FUNCTION:
                    wrong.append(f"{name(path)}:{node.lineno}: {node.name} has {lines} lines, at most 60")
    assert not wrong, "\n".join(wrong)


def test_names_say_something() -> None:
    wrong = [f"{name(path)}: file name" for path in SOURCES if path.stem in FORBIDDEN_FILES]
    for path in SOURCES:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ClassDef) and FORBIDDEN_ENDINGS.search(node.name):
                wrong.append(f"{name(path)}:{node.lineno}: class {node.name}")
    assert not wrong, "\n".join(wrong)


def undocumented(path: Path, body: list[ast.stmt], prefix: str = "") -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and node.name[0] != "_":
            if not ast.get_docstring(node):
                yield f"{name(path)}:{node.lineno}: {prefix}{node.name}"
            if isinstance(node, ast.ClassDef):
                yield from undocumented(path, node.body, f"{node.name}.")


def test_public_names_have_docstrings() -> None:
    wrong = [line for path in SOURCES for line in undocumented(path, tree(path).body)]
    wrong += [f"{name(path)}:1: module" for path in SOURCES if not ast.get_docstring(tree(path))]
    assert not wrong, "\n".join(wrong)


def test_only_the_sandbox_makes_template_environments() -> None:
    makers = [name(path) for path in SOURCES if re.search(r"\bEnvironment\(", path.read_text(encoding="utf-8"))]
    assert set(makers) <= {"src/pacos/text/sandbox.py"}


def test_numpy_and_heavy_libraries_are_not_imported_at_the_top() -> None:
    heavy = {"numpy", "rich", "prompt_toolkit", "asyncio", "filelock", "platformdirs", "tokenizers"}
    heavy |= {"starlette", "uvicorn", "msgspec"}
    wrong = []
    for path in SOURCES:
        if path.is_relative_to(PACKAGE / "server"):  # imported when a server starts, which needs them all
            continue
        for node in tree(path).body:
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            wrong += [f"{name(path)}:{node.lineno}: {module}" for module in modules if module.split(".")[0] in heavy]
    assert not wrong, "import these inside functions:\n" + "\n".join(wrong)


def test_only_one_file_knows_where_things_lie() -> None:
    words = re.compile(r"platformdirs|Path\.home\(|XDG_|HF_HOME|OLLAMA_MODELS|LOCALAPPDATA")
    found = {name(path) for path in SOURCES if words.search(path.read_text(encoding="utf-8"))}
    assert found == {"src/pacos/settings/places.py"}


def test_no_path_of_a_machine() -> None:
    texts = [*OURS, *ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *(p for p in ROOT.glob("scripts/*") if p.is_file())]
    native_code = [path for path in PACKAGE.rglob("*") if path.suffix in {".cpp", ".hpp", ".h"}]
    wrong = [
        f"{name(path)}:{number}: {line.strip()}"
        for path in [*texts, *native_code]
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if MACHINE_PATH.search(line) and "MACHINE_PATH =" not in line
    ]
    assert not wrong, "\n".join(wrong)


def declared() -> set[str]:
    header = (PACKAGE / "native" / "pacos.h").read_text(encoding="utf-8")
    code = re.sub(r"/\*.*?\*/|//[^\n]*", "", header, flags=re.DOTALL)
    return set(re.findall(r"^PACOS_API\b[^;(]*?\b(\w+)\s*\(", code, re.MULTILINE))


def test_a_header_that_changed_has_another_version() -> None:
    """So that a library built before a change is refused, and does not crash."""
    lines = (PACKAGE / "native" / "pacos.h").read_text(encoding="utf-8").splitlines()
    others = [line for line in lines if not line.startswith("#define PACOS_ABI_VERSION ")]
    number = zlib.crc32("\n".join(others).encode()) & 0x7FFFFFFF
    assert len(others) == len(lines) - 1
    said = f"set PACOS_ABI_VERSION in pacos.h and ABI_VERSION in native/__init__.py to {number}"
    assert f"#define PACOS_ABI_VERSION {number} " in "\n".join(lines), said
    assert number == native.ABI_VERSION, said


def test_library_has_all_that_the_header_declares() -> None:
    library = native.library()
    missing = sorted(function for function in declared() if not hasattr(library, function))
    assert declared()
    assert not missing, f"declared in pacos.h and not in {native.library_path().name}: {missing}"


def test_header_declares_all_that_native_code_exports() -> None:
    exported = set()
    for path in PACKAGE.rglob("*.cpp"):
        code = re.sub(r"/\*.*?\*/|//[^\n]*", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        exported |= set(
            re.findall(r"^(?:extern \"C\" )?[\w][\w \*]*?\b(pacos_[a-z0-9_]+)\s*\([^;]*?\)\s*\{", code, re.MULTILINE)
        )
    assert exported == declared()
    assert all(function.startswith("pacos_") for function in declared())


def test_python_asks_only_for_declared_functions() -> None:
    asked = set()
    for path in SOURCES:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                asked |= set(re.findall(r"^pacos_[a-z0-9_]+$", node.value))
    assert asked <= declared(), f"not in pacos.h: {sorted(asked - declared())}"


def test_loader_refuses_a_library_of_another_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "ABI_VERSION", native.library().pacos_abi_version() + 1)
    native.library.cache_clear()
    try:
        with pytest.raises(native.NativeError, match="has ABI version"):
            native.library()
    finally:
        monkeypatch.undo()
        native.library.cache_clear()
    assert isinstance(native.library(), ctypes.CDLL)
