"""Warn where the user's own code is, so that the line that is shown below a warning is one of theirs.

    warn("lwcallbacks: ...")          # train.py:40: UserWarning: lwcallbacks: ...
                                      #   trainer.fit(module)

In a background thread there is none of their code, and no line is shown.
"""

from __future__ import annotations

import os
import sys
import sysconfig
import warnings
from pathlib import Path

_NOWHERE = 1 << 20
"""Deeper than any stack: `warnings` then names the interpreter and shows no line."""
_PATHS = sysconfig.get_paths()
_NOT_THEIRS = (f"{Path(__file__).parent}{os.sep}", *(_PATHS[n] for n in ("stdlib", "purelib", "platlib")), "<frozen")


def warn(message: str) -> None:
    """A UserWarning at the innermost line that is neither of this package nor of one that is installed.

    The message begins with the package's name, by which it can be filtered.
    """
    message = message if message.startswith("lwcallbacks") else f"lwcallbacks: {message}"
    depth, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_NOT_THEIRS):
        depth, frame = depth + 1, frame.f_back
    is_theirs = not frame.f_code.co_filename.startswith(_NOT_THEIRS)
    warnings.warn(message, stacklevel=depth if is_theirs else _NOWHERE)
