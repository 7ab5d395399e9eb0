"""A run's page in one file: everything inside, and nothing of a hostile folder but its data."""

from __future__ import annotations

import base64
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from support.runs import EVIL, append, written

from lwcallbacks.html import page_html
from lwcallbacks.sharing import is_as_written, single_file
from lwcallbacks.writers import FolderWriter

SCRIPT = re.compile(r"<script([^>]*)>(.*?)</script>", re.DOTALL)


def files_in(html: str) -> dict[str, Any]:
    [files] = [json.loads(code) for attributes, code in SCRIPT.findall(html) if 'id="lw-files"' in attributes]
    return files  # type: ignore[no-any-return]


def addresses(html: str) -> set[str]:
    return set(re.findall(r"https?://[^\s\"'<>)]+", html))


def test_everything_is_inside(tmp_path: Path) -> None:
    """Images as they are in the folder, all data; no address is left that a browser would ask."""
    folder = written(tmp_path)
    made = single_file(tmp_path)
    assert made.left_out == []
    files = files_in(made.html)
    images = [path.relative_to(folder).as_posix() for path in folder.rglob("*.png")]
    assert sorted(images) == sorted(name for name in files if name.endswith(".png"))
    for name in images:
        assert base64.b64decode(files[name]) == (folder / name).read_bytes()
    assert files["data/00000.js"].splitlines() == (folder / "data" / "00000.js").read_text().splitlines()
    assert files["manifest.js"].splitlines() == (folder / "manifest.js").read_text().splitlines()
    assert not re.search(r"<(script|img|link|iframe)[^>]*\b(src|href)=", made.html)
    assert addresses(made.html) <= addresses(page_html().decode()), "uPlot names sources in its comments"


def test_the_browser_runs_the_scripts_that_are_there_and_no_other(tmp_path: Path) -> None:
    """The rule in the page names each by its checksum, and forbids any address."""
    written(tmp_path)
    html = single_file(tmp_path).html
    [policy] = re.findall(r'Content-Security-Policy" content="([^"]+)"', html)
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    script_rule = policy.split(";")[1]
    assert "unsafe-inline" not in script_rule
    assert script_rule.count("sha256-") == len([a for a, _ in SCRIPT.findall(html) if "json" not in a])


def test_a_run_without_pictures_is_a_page_too(tmp_path: Path) -> None:
    """Numbers only."""
    FolderWriter(tmp_path / "media").write_scalars({"a": 0.5}, 1)
    assert single_file(tmp_path).left_out == []


@pytest.mark.parametrize("place", ["key", "caption", "class", "cell", "config", "curve"])
def test_markup_in_names_is_text(place: str, tmp_path: Path) -> None:
    """No script is longer or more than without it."""
    folder = written(tmp_path, classes=("a", EVIL if place == "class" else "b"), config={"lr": EVIL})
    written(tmp_path / "plain")
    match place:
        case "key":
            append(folder, "manifest.js", ("key", [90, EVIL, "image", "val/image"]), ("step", [10, None, [90, 90]]))
        case "caption":
            append(folder, "manifest.js", ("step", [10, None, [2, 2], {"2": EVIL}]))
        case "cell":
            append(folder, "data/00000.js", ("data", [1, 20, {"columns": [EVIL], "cells": [[EVIL]]}]))
        case "curve":
            append(folder, "scalars.js", ("scalars", [1, 0, {EVIL: 0.5}]))
    html, plain = single_file(tmp_path).html, single_file(tmp_path / "plain").html
    assert "<img" not in html.replace(" <img", "")
    assert len(SCRIPT.findall(html)) == len(SCRIPT.findall(plain))
    assert EVIL not in html


FOREIGN = ["alert(1)", "LW.key(1);alert(1);", "LW.step(1,0,[0,0],alert(1));", "LW.data(1,1,{});", "LW.key(0,NaN,0,0);"]


@pytest.mark.parametrize("line", FOREIGN)
@pytest.mark.parametrize("file", ["manifest.js", "scalars.js", "run.js", "cost.js", "data/00000.js"])
def test_a_line_with_code_is_refused(file: str, line: str, tmp_path: Path) -> None:
    """In any of the scripts: it is no call of ours with plain data."""
    folder = written(tmp_path)
    with open(folder / file, "a") as script:
        script.write(line + "\n")
    if (file, line) == ("data/00000.js", "LW.data(1,1,{});"):
        return  # this is what such a file has
    with pytest.raises(ValueError, match=r"found|Expecting|Extra"):
        single_file(tmp_path)
    if file != "data/00000.js" or "LW.data" not in line:
        assert not safe(folder)


def safe(folder: Path) -> bool:
    try:
        return is_as_written(folder)
    except ValueError:
        return False


@pytest.mark.parametrize("name", ["../secret.png", "/etc/hostname", "link.png", "text.png", "missing.png", "fifo.png",
                                  "C:\\secret.png", "a\0b", "folder"])  # fmt: skip
def test_a_file_that_is_not_a_png_of_the_folder_is_left_out(name: str, tmp_path: Path) -> None:
    """It is named with the reason, and the rest is there."""
    folder = written(tmp_path / "run")
    secret = folder.parent / "secret.png"
    secret.write_bytes((folder / "val/image/00000010.png").read_bytes() + b"SECRET")
    (folder / "link.png").symlink_to(secret)
    (folder / "text.png").write_text("<svg onload=alert(1)>")
    (folder / "folder").mkdir()
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder / "fifo.png")
    cell = {"image": name, "box": [0, 0, 8, 8]}
    append(folder, "data/00000.js", ("data", [1, 20, {"columns": ["image"], "cells": [[cell]]}]))
    made = single_file(folder)
    [told] = made.left_out
    assert told.startswith(name)
    assert base64.b64encode(b"SECRET")[:6].decode() not in made.html
    assert len([found for found in files_in(made.html) if found.endswith(".png")]) == 3


@pytest.mark.parametrize("where", ["..", "/etc", "a/../.."])
def test_a_key_whose_folder_is_elsewhere_is_refused(where: str, tmp_path: Path) -> None:
    """The index names folders below this one only."""
    append(written(tmp_path), "manifest.js", ("key", [90, "evil", "image", where]))
    with pytest.raises(ValueError, match="expected one in this folder"):
        single_file(tmp_path)


def test_a_script_that_is_a_link_is_not_read(tmp_path: Path) -> None:
    """It may be any file of the machine."""
    folder = written(tmp_path / "run")
    (tmp_path / "secret").write_text('LW.scalars(1,0,{"secret":1});\n')
    (folder / "scalars.js").unlink()
    (folder / "scalars.js").symlink_to(tmp_path / "secret")
    with pytest.raises(ValueError, match="a link leads out of it"):
        single_file(folder)


def test_a_page_of_ours_is_known(tmp_path: Path) -> None:
    """And one with another script, style, page or line of code is none."""
    folder = written(tmp_path)
    assert is_as_written(folder)
    for name, text in [("index.html", "<script>alert(1)</script>"), ("page/app.js", "alert(1)"), ("x.html", "")]:
        path = folder / name
        before = path.read_bytes() if path.exists() else None
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        assert not is_as_written(folder), name
        path.unlink()
        if before is not None:
            path.write_bytes(before)
    assert is_as_written(folder)
    (folder / "data" / "00007.js").write_text("alert(1)\n")
    assert not safe(folder)
