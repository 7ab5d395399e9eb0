"""Code in the documentation, to be run as a reader would."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"


def code(page: str, name: str) -> str:
    """The Python block of a page that begins with the comment `# name`."""
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)
    [found] = [block for block in blocks if block.startswith(f"# {name}\n")]
    return found
