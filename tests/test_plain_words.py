"""Phrases that are not used in the pages, docstrings and comments of this project, each with a plainer one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
PLACES = ("*.md", "*.toml", "Makefile", "docs/*.md", *(f"{folder}/**/*.py" for folder in ("lwcallbacks", "tests")))
PLACES += ("benchmarks/*.*", "examples/**/*.*", ".github/workflows/*.yml")

# Each phrase, and what to write.
PLAINER = {
    r"shall": "the present tense, or must",
    r"behind the back": "on a background thread",
    r"taken at (its|his|her|their) word": "what happens: the queue is dropped",
    r"(is|are|was|were) told(?! (apart|by|what|where|when|how|about))": "reported, or passed",
    r"told of": "reported",
    r"tells of": "reports, or knows",
    r"(lie|lies|lay) (in|at|inside|within)": "is or are",
    r"what a person|a person (wants|to see)": "media to publish, or the result",
    r"for ever": "forever",
    r"hears? (it|of|the)": "gets, or is notified",
    r"anew": "again",
    r"cannot be had": "is not available",
    r"on our account": "because of a callback",
    r"for our sake": "because of a callback",
    r"metrics eat": "metrics take",
    r"thus": "so",
    r"thereof|therein|wherein|hereby|unto|henceforth": "the thing itself",
}


def text(path: Path) -> str:
    """What is written there, in one line, so that a phrase is found across a line's end."""
    return re.sub(r"\s*\n\s*(?:# )?", " ", path.read_text(encoding="utf-8"))


def files() -> list[str]:
    found = {path for place in PLACES for path in REPOSITORY.glob(place) if path.is_file()}
    found = {path for path in found if path.suffix in (".py", ".md", ".toml", ".yml", "")} - {Path(__file__).resolve()}
    return sorted(path.relative_to(REPOSITORY).as_posix() for path in found if "__pycache__" not in path.parts)


def phrases(name: str) -> set[str]:
    """The phrases of the table that are in a file."""
    written = text(REPOSITORY / name)
    return {phrase for phrase in PLAINER if re.search(rf"\b(?:{phrase})\b", written, re.IGNORECASE)}


@pytest.mark.parametrize("name", files())
def test_words_are_plain(name: str) -> None:
    """None of the phrases above."""
    advice = {phrase: PLAINER[phrase] for phrase in phrases(name)}
    assert not advice, f"{name}: write instead {advice}"
