"""Data inside of HTML: text that no browser takes for markup or for a script.

script_json({"a": "</script>"})         # '{"a":"\\u003c/script>"}': for a script
with_policy(html)                       # the browser runs the scripts that are there now, and loads nothing else
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from typing import Any

_SCRIPT = re.compile(r"<script(?P<attributes>[^>]*)>(?P<code>.*?)</script>", re.DOTALL)


def script_json(value: Any) -> str:
    r"""JSON in ASCII without "<", for inside of a script: its end cannot be in it.

    >>> script_json(["</script>", "\u2028", 0.5])
    '["\\u003c/script>","\\u2028",0.5]'

    Raises:
        ValueError: a number is not finite.
    """
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def inline(code: str) -> str:
    """A script of ours, for inside of HTML."""
    return code.replace("\r\n", "\n").replace("</script", "<\\/script").replace("<!--", "<\\!--")


def with_policy(html: str) -> str:
    """The page with a rule for the browser: run these scripts and no other, ask no network for anything.

    Args:
        html: what is before its first script ends with "<head>" or a meta element that names the character set.
    """
    codes = [found["code"] for found in _SCRIPT.finditer(html) if "application/json" not in found["attributes"]]
    hashes = dict.fromkeys(base64.b64encode(hashlib.sha256(code.encode()).digest()).decode() for code in codes)
    allowed = " ".join(f"'sha256-{code}'" for code in hashes)
    policy = f"default-src 'none'; script-src {allowed} blob:; style-src 'unsafe-inline'; img-src data: blob:"
    meta = f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
    charset = '<meta charset="utf-8">'
    if charset not in html:
        raise ValueError(f"the page has no {charset}")
    return html.replace(charset, f"{charset}\n{meta}", 1)
