"""The hatchling hook: compile the native library and put it into the wheel.

A wheel serves every Python of its platform (py3-none-<platform>), for the library is called through ctypes. With
PACOS_TARGET (a name of `build/compile.py --target`) the wheel is for that system, compiled by zig.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import sysconfig
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

# zig brings a C++20 compiler as a Python package; 0.17.0 has no Windows wheel.
ZIG = "ziglang==0.16.0" if sys.platform == "win32" else "ziglang==0.17.0"


def _compile_module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pacos_compile", Path(__file__).with_name("compile.py"))
    if spec is None or spec.loader is None:
        raise ImportError("build/compile.py is missing")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


class NativeLibraryHook(BuildHookInterface[Any]):
    """Compile for a wheel or an editable install; do nothing for the source distribution."""

    def dependencies(self) -> list[str]:
        """Ask for zig only where nothing else compiles."""
        if self.target_name != "wheel":
            return []
        compile_module = _compile_module()
        foreign = bool(os.environ.get("PACOS_TARGET"))
        if compile_module.zig_on_path() or (not foreign and compile_module.system_compiler()):
            return []
        return [ZIG]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, then name the platform and the library in the wheel."""
        if self.target_name != "wheel":
            return
        compile_module = _compile_module()
        triple = os.environ.get("PACOS_TARGET")
        try:
            if triple and triple not in compile_module.TARGETS:
                known = ", ".join(compile_module.TARGETS)
                raise compile_module.BuildError(f"PACOS_TARGET={triple} is unknown: use one of {known}")
            target = compile_module.TARGETS[triple] if triple else compile_module.native_target()
            library = compile_module.build(compile_module.Options(target, portable=bool(triple)))
            portable = triple or compile_module.find_compiler().zig or target.system != "linux"
        except compile_module.BuildError as error:
            raise SystemExit(f"pacos: {error}") from error
        platform = target.wheel if portable else sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{platform}"
        if version != "editable":
            build_data["force_include"][str(library)] = f"pacos/native/{target.library}"
