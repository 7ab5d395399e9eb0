"""Text for a terminal. Names of files and of keys come from elsewhere, and are never obeyed by it.

plain("val/acc\\x1b[2J")                            # "val/acc?[2J"
"""

from __future__ import annotations


def plain(text: object) -> str:
    """One line of text without control characters; each is a "?", as `ls` shows it.

    What is invisible or turns the direction of writing counts as one, and so does half of a surrogate pair, by which
    Python stands for a byte of a file's name that is no text.

    >>> plain("a\\nb\\x1b[31m\\u202e"), plain("größe 猫")
    ('a?b?[31m?', 'größe 猫')
    """
    return "".join(char if char.isprintable() else "?" for char in str(text))


def counted(number: int, noun: str) -> str:
    """A number of things, in words.

    >>> counted(1, "key"), counted(1234, "key")
    ('1 key', '1,234 keys')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
