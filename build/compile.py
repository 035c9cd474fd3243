"""Compile every C++ file below src/pacos into the one native library of the package.

Standalone: only the standard library. The build hook imports it, `make build` runs it.

    python build/compile.py                      the library for this machine, next to its Python loader
    python build/compile.py --target T           another target, with ziglang (see --help)
    python build/compile.py --sanitize address,undefined --output libpacos-checked.so

An instruction set belongs to a file, never to a function: the last word of the file name selects the flags
(`dot_avx2.cpp`, `dot_neon.cpp`, see INSTRUCTION_SETS); every other file is baseline code. Objects are cached under
build/cache by the hash of the source, all headers that it reaches, the flags and the compiler.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import functools
import hashlib
import importlib.util
import json
import os
import platform
import re
import runpy
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "pacos"
CACHE = ROOT / "build" / "cache"
GENERATED = ROOT / "build" / "generated"
INCLUDE_FOLDERS = (PACKAGE, PACKAGE / "native", GENERATED)
SHOWN_LINES = 40  # of what a compiler says when it fails
KEEP_SECONDS = 86400.0  # of objects that the last build did not use

AVX2 = ("-mavx2", "-mfma", "-mf16c", "-mbmi2")
AVX512 = (*AVX2, *(f"-mavx512{part}" for part in ("f", "bw", "dq", "vl", "vnni", "bf16")))
QUIET = ("-Wno-uninitialized", "-Wno-maybe-uninitialized")  # gcc 12's own AVX-512 headers (its bug 105593)

# Last word of the file name -> (architecture, flags for gcc and clang, flags for zig). The order is the link order:
# of an inline function that two objects hold, the linker keeps the first, which must be the one that runs everywhere.
INSTRUCTION_SETS: dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "avx2": ("x86_64", AVX2, AVX2),
    "avxvnni": ("x86_64", (*AVX2, "-mavxvnni"), (*AVX2, "-mavxvnni")),
    "avx512": ("x86_64", (*AVX512, *QUIET), AVX512),
    "amx": ("x86_64", *[(*AVX512, "-mamx-tile", "-mamx-int8", "-mamx-bf16")] * 2),
    "neon": ("aarch64", (), ()),
    "neondot": ("aarch64", ("-march=armv8.2-a+dotprod+fp16",), ("-mcpu=generic+v8_2a+dotprod+fullfp16",)),
    "neoni8mm": ("aarch64", ("-march=armv8.2-a+dotprod+fp16+i8mm",), ("-mcpu=generic+v8_2a+dotprod+fullfp16+i8mm",)),
}
BASELINE = {"x86_64": (), "aarch64": ("-march=armv8-a",)}

# What a sanitizer watches: one set for each architecture beside the baseline. Every further one takes minutes to
# compile so, and shares its templates with these.
WATCHED = {"address,undefined": ("", "avx2", "neon"), "thread": ("",)}
# One call a check: the kernels are unrolled so far that checks in line take a compiler ten minutes.
WATCH_FLAGS = {
    "address,undefined": (
        *("--param", "asan-instrumentation-with-call-threshold=0", "-fsanitize-undefined-trap-on-error"),
        "-fno-sanitize=null,object-size,vptr,return",
    ),
}

COMPILE_FLAGS = (
    *("-std=c++20", "-O3", "-fPIC", "-fvisibility=hidden", "-fvisibility-inlines-hidden", "-ffunction-sections"),
    *("-fno-math-errno", "-ffp-contract=off", "-Wall", "-Wextra", "-Wno-psabi"),
)
PROBE = """
#include <span>
#include <string>
#include <thread>
int probe() { std::string s; std::thread([] {}).join(); return int(s.size()); }
"""


class BuildError(Exception):
    """The library cannot be built; the message says why."""


@dataclass(frozen=True)
class Target:
    """A system that the library can be built for. `wheel` is the platform part of the wheel's tag."""

    triple: str
    system: str
    arch: str
    wheel: str

    @property
    def library(self) -> str:
        """File name of the library."""
        return {"windows": "pacos.dll", "macos": "libpacos.dylib"}.get(self.system, "libpacos.so")


TARGETS = {
    target.triple: target
    for target in (
        Target("x86_64-linux-gnu.2.17", "linux", "x86_64", "manylinux_2_17_x86_64"),
        Target("aarch64-linux-gnu.2.17", "linux", "aarch64", "manylinux_2_17_aarch64"),
        Target("x86_64-linux-musl", "linux", "x86_64", "musllinux_1_2_x86_64"),
        Target("x86_64-windows-gnu", "windows", "x86_64", "win_amd64"),
        Target("aarch64-windows-gnu", "windows", "aarch64", "win_arm64"),
        Target("aarch64-macos.11.0", "macos", "aarch64", "macosx_11_0_arm64"),
        Target("x86_64-macos.11.0", "macos", "x86_64", "macosx_11_0_x86_64"),
    )
}
_ALSO_NATIVE = Target("aarch64-linux-musl", "linux", "aarch64", "musllinux_1_2_aarch64")


@dataclass(frozen=True)
class Compiler:
    """A C++ compiler that was seen to work: how to call it, its version, and the link flags that it needs."""

    command: tuple[str, ...]
    version: str
    zig: bool = False
    link_flags: tuple[str, ...] = ()


def native_target() -> Target:
    """The target that this Python runs on."""
    arch = {"amd64": "x86_64", "x86_64": "x86_64", "arm64": "aarch64", "aarch64": "aarch64"}.get(
        platform.machine().lower()
    )
    system = {"linux": "linux", "darwin": "macos", "win32": "windows"}.get(sys.platform)
    musl = system == "linux" and platform.libc_ver()[0] != "glibc"
    for target in (*TARGETS.values(), _ALSO_NATIVE):
        if (target.arch, target.system) == (arch, system) and musl == target.triple.endswith("musl"):
            return target
    raise BuildError(f"no native library for {sys.platform} on {platform.machine()}: known are {', '.join(TARGETS)}")


# ---- the compiler ----------------------------------------------------------------------------------------------------


def zig_on_path() -> str | None:
    """Path of a zig program that is installed on this system."""
    return shutil.which("zig")


def zig_program() -> str | None:
    """Path of the zig program: from the ziglang package of this Python, else from PATH."""
    spec = importlib.util.find_spec("ziglang")
    if spec is not None and spec.origin is not None:
        program = Path(spec.origin).with_name("zig.exe" if sys.platform == "win32" else "zig")
        if program.is_file():
            return str(program)
    return zig_on_path()


def find_compiler(portable: bool = False) -> Compiler:
    """Choose $CXX, else a system compiler that really compiles, else zig; a portable library takes zig.

    Errors: BuildError when there is none.
    """
    if not portable:
        system = system_compiler()
        if system is not None:
            return system
    zig = zig_program()
    if zig is None:
        raise BuildError("no C++20 compiler found: install g++ or clang++, or run `pip install ziglang`")
    version = subprocess.run([zig, "version"], check=True, capture_output=True, text=True).stdout.strip()
    return Compiler((zig, "c++"), f"zig {version}", zig=True)


@functools.cache
def system_compiler() -> Compiler | None:
    """The system's C++ compiler, or None.

    Errors: BuildError when $CXX is set and does not compile the test program.
    """
    wanted = os.environ.get("CXX", "").split()
    if wanted:
        found = _probed(tuple(wanted))
        if found is None:
            raise BuildError(f"CXX={' '.join(wanted)} does not compile and link a C++20 shared library")
        return found
    names = () if sys.platform == "win32" else ("c++", "g++", "clang++")
    return next((found for name in names if (found := _probed((name,)))), None)


def _probed(command: tuple[str, ...]) -> Compiler | None:
    program = shutil.which(command[0])
    if program is None:
        return None
    status = os.stat(program)
    note = CACHE / f"compiler-{_digest([program, *command, str(status.st_mtime_ns), str(status.st_size)])}.json"
    if note.is_file():
        known = json.loads(note.read_text())
        return Compiler(command, known["version"], link_flags=tuple(known["link_flags"])) if known else None
    static = () if sys.platform == "darwin" else ("-static-libstdc++", "-static-libgcc")
    found = None
    for link_flags in dict.fromkeys([static, ()]):
        if _compiles_probe([*command, *COMPILE_FLAGS, "-shared", "-pthread", *link_flags]):
            version = subprocess.run([*command, "--version"], capture_output=True, text=True, check=False).stdout
            found = Compiler(command, version.partition("\n")[0], link_flags=link_flags)
            break
    _write(note, json.dumps(found and {"version": found.version, "link_flags": found.link_flags}))
    return found


def _compiles_probe(command: Sequence[str]) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "probe.cpp")
        source.write_text(PROBE)
        try:
            done = subprocess.run([*command, str(source), "-o", f"{folder}/probe.so"], capture_output=True, check=False)
        except OSError:
            return False
        return done.returncode == 0


# ---- sources and flags -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Unit:
    """One source file with the flags that compile it and the object that results."""

    source: Path
    flags: tuple[str, ...]
    object: Path


def write_generated() -> None:
    """Write what native code includes: lists of formats and of packers (an #include per quants folder), codebooks."""
    headers = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.glob("quants/*/cpu.hpp"))
    text = "// Generated by build/compile.py: every block format's CPU code.\n"
    text += "".join(f'#include "{header}"\n' for header in headers)
    _write_if_new(GENERATED / "pacos_formats.inc", text)
    packers = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.glob("quants/*/pack.hpp"))
    text = "// Generated by build/compile.py: every packer of a block format.\n"
    text += "".join(f'#include "{header}"\n' for header in packers)
    _write_if_new(GENERATED / "pacos_packers.inc", text)
    text = (
        "// Generated by build/compile.py: every block format's codebook, a vector of signed bytes in each integer.\n"
    )
    read_codebook = runpy.run_path(str(PACKAGE / "quants" / "codebook.py"))["read_codebook"]
    for path in sorted(PACKAGE.glob("quants/*/grid.txt")):
        vectors = read_codebook(path)
        width = len(vectors[0])
        packed = (int.from_bytes(bytes(level & 255 for level in vector), "little") for vector in vectors)
        entries = ",".join(f"{number:#x}" for number in packed)
        text += f"constexpr uint{8 * width}_t {path.parent.name}_grid[{len(vectors)}] = {{{entries}}};\n"
    _write_if_new(GENERATED / "pacos_grids.inc", text)


def _write_if_new(path: Path, text: str) -> None:
    if not path.is_file() or path.read_text() != text:
        _write(path, text)


def units(target: Target, compiler: Compiler, extra_flags: Sequence[str] = (), sanitize: str = "") -> list[Unit]:
    """The files to compile for a target, baseline first; those that no sanitizer watches are compiled as ever."""
    order = ["", *INSTRUCTION_SETS]
    folder = CACHE / target.triple
    watched = WATCHED.get(sanitize, tuple(order)) if sanitize else ()
    found = []
    for source in sorted(PACKAGE.rglob("*.cpp")):
        word = source.stem.rpartition("_")[2]
        arch, flags, zig_flags = INSTRUCTION_SETS.get(word, (target.arch, BASELINE[target.arch], ()))
        if arch != target.arch:
            continue
        watch = (word if word in order else "") in watched
        all_flags = (
            *COMPILE_FLAGS,
            *(zig_flags if compiler.zig else flags),
            *_target_flags(target, compiler),
            *extra_flags,
            *(sanitizer_flags(sanitize) if watch else ()),
        )
        key = _digest([compiler.version, *all_flags, *_reached(source)])
        name = f"{source.relative_to(PACKAGE).with_suffix('').as_posix().replace('/', '.')}-{key}.o"
        found.append(
            (
                order.index(word) if word in order else 0,
                Unit(source, all_flags, (_watched_folder(target, sanitize) if watch else folder) / name),
            )
        )
    return [unit for _, unit in sorted(found, key=lambda pair: pair[0])]


def sanitizer_flags(sanitize: str) -> tuple[str, ...]:
    """Flags that compile a file for a sanitizer."""
    stop = ("-fno-sanitize-recover=undefined",) if "undefined" in sanitize else ()
    flags = ("-O1", "-g1", "-DPACOS_NOT_UNROLLED", "-fno-omit-frame-pointer", f"-fsanitize={sanitize}")
    return (*flags, *stop, *WATCH_FLAGS.get(sanitize, ()))


def _watched_folder(target: Target, sanitize: str) -> Path:
    return CACHE / f"{target.triple}-{sanitize.replace(',', '-')}"


def _target_flags(target: Target, compiler: Compiler) -> tuple[str, ...]:
    if compiler.zig:
        return ("-target", target.triple)
    return ("-mmacosx-version-min=11.0",) if target.system == "macos" else ()


def _reached(source: Path) -> Iterator[str]:
    """Yield name and content of a source and of every quoted header that it reaches."""
    waiting, seen = [source], {source}
    while waiting:
        path = waiting.pop()
        content = path.read_bytes()
        yield f"{path.relative_to(ROOT).as_posix()} {hashlib.sha256(content).hexdigest()}"
        for name in re.findall(rb'^\s*#\s*include\s+"([^"]+)"', content, re.MULTILINE):
            for folder in (path.parent, *INCLUDE_FOLDERS):
                header = Path(os.path.normpath(folder / name.decode()))
                if header.is_file():
                    if header not in seen:
                        seen.add(header)
                        waiting.append(header)
                    break


def _digest(parts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:20]


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.write_text(text)
    draft.replace(path)


# ---- compiling and linking -------------------------------------------------------------------------------------------


def _run(command: Sequence[str], what: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode:
        said = (done.stdout + done.stderr).splitlines()
        shown = (
            [*said[:SHOWN_LINES], f"... and {len(said) - SHOWN_LINES} lines more"] if len(said) > SHOWN_LINES else said
        )
        raise BuildError("\n".join([f"{what} failed: {' '.join(command)}", *shown]))
    sys.stderr.write(done.stderr)


def compile_unit(unit: Unit, compiler: Compiler) -> None:
    """Compile one file into the object cache, unless it is there already."""
    if unit.object.is_file():
        return
    ccache = shutil.which("ccache")
    prefix = [ccache] if ccache and not compiler.zig else []
    includes = [f"-I{folder}" for folder in INCLUDE_FOLDERS]
    draft = unit.object.with_name(f"{unit.object.name}.{os.getpid()}.o")
    name = unit.source.relative_to(ROOT).as_posix()
    print(f"compiling {name}", file=sys.stderr, flush=True)
    _run([*prefix, *compiler.command, *unit.flags, *includes, "-c", str(unit.source), "-o", str(draft)], name)
    draft.replace(unit.object)


def link_flags(target: Target, compiler: Compiler, folder: Path, sanitized: bool, lenient: bool) -> list[str]:
    """The flags that join objects into a library which exports pacos_* and needs only the C library."""
    flags = ["-shared", *_target_flags(target, compiler)]
    flags += [] if sanitized else ["-s", *compiler.link_flags]
    if target.system == "linux":
        script = folder / "exports.map"
        _write(script, "{ global: pacos_*; local: *; };\n")
        flags += ["-pthread", f"-Wl,--version-script={script}", "-Wl,--gc-sections", "-Wl,-soname,libpacos.so"]
        flags += [] if sanitized or lenient else ["-Wl,-z,defs"]
    if target.system == "macos":
        flags += ["-Wl,-install_name,@rpath/libpacos.dylib"]
    return flags


def link(objects: Sequence[Path], flags: Sequence[str], compiler: Compiler, output: Path, folder: Path) -> None:
    """Link into a draft and put it in place in one move; skip when nothing changed."""
    key = _digest([compiler.version, *flags, *(path.name for path in objects)])
    note = folder / f"link-{_digest([str(output)])}.txt"
    if output.is_file() and note.is_file() and note.read_text() == f"{key} {output.stat().st_mtime_ns}":
        return
    print(f"linking {output.name}", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        made = Path(scratch, output.name)
        _run([*compiler.command, *map(str, objects), *flags, "-o", str(made)], output.name)
        output.parent.mkdir(parents=True, exist_ok=True)
        draft = output.with_name(f".{output.name}.{os.getpid()}")
        shutil.copyfile(made, draft)
        draft.chmod(0o755)
        draft.replace(output)
    _write(note, f"{key} {output.stat().st_mtime_ns}")


@dataclass(frozen=True)
class Options:
    """What to build and how.

    `portable`: for any machine of the target (always zig), not for this one. `keep_going` leaves out files that do
    not compile.
    """

    target: Target
    portable: bool = False
    output: Path | None = None
    jobs: int = os.cpu_count() or 1
    sanitize: str = ""
    keep_going: bool = False


def build(options: Options) -> Path:
    """Build the library and return its path.

    Errors: BuildError with the compiler's own words.
    """
    target = options.target
    compiler = find_compiler(options.portable)
    folder = _watched_folder(target, options.sanitize) if options.sanitize else CACHE / target.triple
    for place in {folder, CACHE / target.triple}:
        place.mkdir(parents=True, exist_ok=True)
    default = folder if options.portable or options.sanitize else PACKAGE / "native"
    output = (options.output or default / target.library).resolve()
    write_generated()
    extra = ["-Werror"] if os.environ.get("PACOS_WERROR") == "1" else []
    todo = units(target, compiler, extra, options.sanitize)
    failures = []
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        slow_first = reversed(todo)  # kernels of the largest instruction sets take longest
        for unit, future in [(unit, pool.submit(compile_unit, unit, compiler)) for unit in slow_first]:
            error = future.exception()
            if isinstance(error, BuildError):
                failures.append((unit, error))
            elif error is not None:
                raise error
    if failures:
        text = "\n".join(str(error) for _, error in failures)
        if not options.keep_going:
            raise BuildError(text)
        print(f"{text}\nleft out: {', '.join(unit.source.name for unit, _ in failures)}", file=sys.stderr)
    objects = [unit.object for unit in todo if unit.object.is_file()]
    flags = link_flags(target, compiler, folder, bool(options.sanitize), options.keep_going)
    flags += [f"-fsanitize={options.sanitize}"] if options.sanitize else []
    link(objects, flags, compiler, output, folder)
    for path in set(folder.glob("*.o")).difference(objects):
        if path.stat().st_mtime < time.time() - KEEP_SECONDS:
            path.unlink(missing_ok=True)
    return output


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line, build, print the path of the library."""
    parser = argparse.ArgumentParser(description="Compile the native library of Pacos.")
    parser.add_argument(
        "--target", choices=["native", *TARGETS], default="native", help="system to build for (default: this one)"
    )
    parser.add_argument("--output", type=Path, help="where to write the library")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="files compiled at the same time")
    parser.add_argument(
        "--sanitize", default="", metavar="LIST", help="address,undefined or thread; written below build/cache"
    )
    parser.add_argument("--keep-going", action="store_true", help="leave out files that do not compile")
    parser.add_argument("--clean", action="store_true", help="remove every cached object first")
    given = parser.parse_args(arguments)
    if given.clean:
        shutil.rmtree(CACHE, ignore_errors=True)
    try:
        portable = given.target != "native"
        target = TARGETS[given.target] if portable else native_target()
        options = Options(target, portable, given.output, max(given.jobs, 1), given.sanitize, given.keep_going)
        print(build(options))
    except BuildError as error:
        print(f"build/compile.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
