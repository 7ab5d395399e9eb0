"""A text is drawn by a font that has its letters, and it is said where there is none."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from support.fonts import BLANK, collection, own_font, planted

from lwcallbacks.media.fonts import Fonts, is_drawn


def test_ascii_needs_no_font_file() -> None:
    """Pillow's own font is enough, and nothing is searched."""

    def search() -> list[Path]:
        raise AssertionError("fonts were looked for")

    assert Fonts(search).runs("class 12, p=0.5…") == (("class 12, p=0.5…", None),)


def test_a_text_is_drawn_whole_by_the_first_font_that_has_all_of_it(tmp_path: Path) -> None:
    """The ASCII in it too, so that its letters are of one face."""
    some, all_of_it = planted(tmp_path / "a.ttf", "é"), planted(tmp_path / "longer.ttf", "Caféñ")
    assert Fonts(lambda: [some, all_of_it]).runs("Café é") == (("Café é", str(all_of_it)),)


def test_fonts_are_put_together_where_none_has_all(tmp_path: Path) -> None:
    """A space stays with what is before it, ASCII goes to Pillow's own font."""
    cats, marks = planted(tmp_path / "cats.ttf", "猫犬"), planted(tmp_path / "m.ttf", "é")
    expected = (("猫 ", str(cats)), ("cat", None), ("é ", str(marks)), ("犬", str(cats)))
    assert Fonts(lambda: [cats, marks]).runs("猫 caté 犬") == expected


def test_the_choice_does_not_depend_on_the_order_of_the_folder(tmp_path: Path) -> None:
    """Upright sans serifs of regular weight go first."""
    names = ("ZSans-Bold.ttf", "DejaVuSans.ttf", "AncientSerif.ttf", "DejaVuSans-Oblique.ttf", "Other.ttf")
    files = [planted(tmp_path / name, "é") for name in names]
    for order in (files, files[::-1]):
        assert Fonts(lambda order=order: order).runs("é") == (("é", str(tmp_path / "DejaVuSans.ttf")),)


def test_a_collection_is_a_font_too(tmp_path: Path) -> None:
    """As most fonts of China, Japan and Korea are."""
    path = tmp_path / "many.ttc"
    path.write_bytes(collection(planted(tmp_path / "x.ttf", "猫").read_bytes()))
    assert Fonts(lambda: [path]).runs("猫") == (("猫", str(path)),)


def test_a_broken_file_costs_nothing_but_itself(tmp_path: Path) -> None:
    """Files that are empty, no fonts, cut off or gone are left out."""
    broken = [tmp_path / f"a{i}.ttf" for i in range(4)]
    for path, data in zip(broken[:3], (b"", b"no font at all", own_font()[:300]), strict=True):
        path.write_bytes(data)
    good = planted(tmp_path / "longer.ttf", "é")
    assert Fonts(lambda: [*broken, good]).runs("é") == (("é", str(good)),)


def test_a_font_of_bitmaps_is_left_out(tmp_path: Path) -> None:
    """Coloured emoji come as bitmaps of one size, which letters of 12 pixels are not made from."""
    bitmaps = planted(tmp_path / "emoji.ttf", "😀", leave_out=(b"glyf", b"loca"))
    with pytest.warns(UserWarning, match="😀"):
        assert Fonts(lambda: [bitmaps]).runs("😀") == (("😀", None),)


def test_a_font_that_draws_nothing_is_left_out(tmp_path: Path) -> None:
    """The outline of a coloured emoji may be empty, below its layers."""
    layers = planted(tmp_path / "emoji.ttf", "😀", first=BLANK)
    with pytest.warns(UserWarning, match="😀"):
        assert Fonts(lambda: [layers]).runs("😀") == (("😀", None),)


@pytest.mark.parametrize(
    ("text", "cure"),
    [("犬", "fonts-noto-cjk"), ("한", "fonts-noto-cjk"), ("हि", "fonts-noto-core"), ("😀", "fonts-symbola")],
)
def test_what_no_font_has_is_said_once_with_what_to_install(text: str, cure: str) -> None:
    """The characters, and a font for them; other characters of that kind are no news."""
    fonts = Fonts(list)
    with pytest.warns(UserWarning, match=rf"no font here has characters such as '.*[{text}].*'.*{cure}"):
        fonts.runs(f"é {text}" if cure == "fonts-noto-core" else text)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert fonts.runs(f"{text} again") == ((f"{text} again", None),)


def test_the_search_ends_in_time(tmp_path: Path) -> None:
    """A font that there was no time to read is as good as none."""
    path = planted(tmp_path / "x.ttf", "é")
    with pytest.warns(UserWarning, match="é"):
        assert Fonts(lambda: [path], seconds=0).runs("é") == (("é", None),)


@pytest.mark.parametrize("char", [" ", "\t", "\n", "\u00a0", "\u200d", "\ufe0f", "\u202b"])
def test_what_has_no_ink_needs_no_font(char: str) -> None:
    """Spaces, joiners, marks of direction and of style."""
    assert not is_drawn(char)
    assert Fonts(list).runs(f"a{char}b") == ((f"a{char}b", None),)


def test_matplotlib_lends_its_font_without_being_imported() -> None:
    """Where it is installed, as it is with the demo."""
    code = """
import sys, importlib.util
from lwcallbacks.media.fonts import system_fonts
found = [path for path in system_fonts() if "matplotlib" in path.parts]
for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
    del sys.modules[name]
found = [path for path in system_fonts() if "matplotlib" in path.parts]
assert "matplotlib" not in sys.modules
print(len(found) == (importlib.util.find_spec("matplotlib") is not None))
sys.modules["matplotlib"] = None
print([path for path in system_fonts() if "matplotlib" in path.parts])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "[]"]
