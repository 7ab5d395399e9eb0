"""Puts uPlot into the wheel, which draws the page's curves: its script and style, from the package `uplot-python`.

The package is needed at build time only. It is not imported, because it imports IPython. Its own licence is that of its
Python code; uPlot's is the MIT licence that the script names, and its text goes into the wheel beside the script.
"""

from __future__ import annotations

import re
import sys
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

TARGET = "lwcallbacks/writers/page/uplot"
FILES = {"uPlot.iife.js": "uPlot.js", "uPlot.min.css": "uPlot.css"}
LICENSE = """\
uPlot, {url}

The MIT License (MIT)

{copyright}

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""


class UPlotHook(BuildHookInterface):
    """Adds the files to a wheel; an editable install finds them in `uplot-python` itself, if it is there."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name != "wheel" or version == "editable":
            return
        static = Path(str(distribution("uplot-python").locate_file("uplot/static")))
        header = (static / "uPlot.iife.js").read_text(encoding="utf-8")[:1000]
        found = re.search(r"(Copyright \(c\) .+)\n.*MIT Licensed[\s\S]+?(https://\S+)", header)
        if found is None:
            sys.exit(f"{static}/uPlot.iife.js: found {header[:200]!r}, expected a header with the MIT licence")
        license_file = Path(self.directory, "uPlot-LICENSE")
        license_file.parent.mkdir(parents=True, exist_ok=True)
        license_file.write_text(LICENSE.format(copyright=found[1].strip(), url=found[2]), encoding="utf-8")
        build_data["force_include"] |= {str(static / name): f"{TARGET}/{as_name}" for name, as_name in FILES.items()}
        build_data["force_include"][str(license_file)] = f"{TARGET}/LICENSE"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        Path(self.directory, "uPlot-LICENSE").unlink(missing_ok=True)
