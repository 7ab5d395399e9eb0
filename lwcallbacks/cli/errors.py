"""What a command says to a user in place of a traceback."""

from __future__ import annotations


class CommandError(Exception):
    """A command cannot do what it was asked for: what was found, what was expected, what to write. Exit code 2."""
