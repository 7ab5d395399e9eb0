"""Which test runs which line: imported by the instrumented copy of the package, in each process that runs one.

A line of `$LWCALLBACKS_TOUCHED` is the time, a file and a line of it. Processes that a test has started know nothing of
the test; the time tells which it is.
"""

from __future__ import annotations

import ast
import functools
import os
import time
from typing import TextIO

_seen: set[tuple[str | None, str, int]] = set()


@functools.cache
def _log() -> TextIO:
    return open(os.environ["LWCALLBACKS_TOUCHED"], "a", buffering=1)


def touch(file: str, line: int) -> None:
    """Called ahead of each statement."""
    key = (os.environ.get("PYTEST_CURRENT_TEST"), file, line)
    if key not in _seen:
        _seen.add(key)
        _log().write(f"{time.time()} {file} {line}\n")


def instrumented(source: str, file: str) -> str:
    """The source of a module with a call of `touch` ahead of each statement of its functions."""
    tree = _Instrument(file).visit(ast.parse(source))
    at = 1 if ast.get_docstring(tree) is not None else 0
    at += isinstance(tree.body[at], ast.ImportFrom) and tree.body[at].module == "__future__"
    tree.body.insert(at, ast.parse("from mutation.touched import touch as _touch").body[0])
    return ast.unparse(ast.fix_missing_locations(tree))


class _Instrument(ast.NodeTransformer):
    def __init__(self, file: str) -> None:
        self.file = file
        self.in_function = False

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        outer, self.in_function = self.in_function, True
        has_words = ast.get_docstring(node, clean=False) is not None
        words, node.body = node.body[:has_words], node.body[has_words:]
        self.generic_visit(node)
        node.body = words + node.body
        self.in_function = outer
        return node

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        if self.in_function and not isinstance(node, ast.ClassDef):
            for name in ("body", "orelse", "finalbody"):
                block = getattr(node, name, None)
                if isinstance(block, list):
                    setattr(node, name, [new for old in block for new in (*self._call(old), old)])
        return node

    def _call(self, statement: ast.stmt) -> list[ast.stmt]:
        return ast.parse(f"_touch({self.file!r}, {statement.lineno})").body if hasattr(statement, "lineno") else []
