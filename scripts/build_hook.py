"""Compile the message kernel into the wheel; without a compiler the wheel is one for every machine."""

from __future__ import annotations

import importlib.util
import re
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER = "emulator/networks/message_kernel"


class MessageKernelHook(BuildHookInterface):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":  # its source may change, so that it is compiled where it is used
            return
        path = Path(self.root) / FOLDER / "compilation.py"
        spec = importlib.util.spec_from_file_location("compilation", path)
        assert spec is not None and spec.loader is not None
        compilation = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(compilation)
        self.scratch = tempfile.TemporaryDirectory()
        try:
            library = compilation.compile_library(Path(self.scratch.name))
        except OSError as error:
            self.app.display_warning(f"The message kernel is not in this wheel: {error}")
            return
        build_data["force_include"][str(library)] = f"{FOLDER}/{library.name}"
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{re.sub('[-.]', '_', sysconfig.get_platform())}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if version != "editable":
            self.scratch.cleanup()
