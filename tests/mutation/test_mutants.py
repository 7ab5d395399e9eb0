"""What `make mutants` changes, and what it leaves alone."""

from __future__ import annotations

import pytest
from mutation.mutants import mutants
from mutation.run import interval
from mutation.touched import instrumented


@pytest.mark.parametrize(
    ("statement", "changes"),
    [
        (
            "return a < b <= c",
            ["a < b <= c -> a <= b <= c", "a < b <= c -> a < b < c", "return a < b <= c -> return None"],
        ),
        ("x = a is not b", ["a is not b -> a is b"]),
        ("x = a in (b, 2)", ["a in (b, 2) -> a not in (b, 2)", "2 -> 3"]),
        ("x = (a + b) * (c)", ["(a + b) * (c) -> (a + b) / (c)", "a + b -> a - b"]),
        ("x = a or b and c", ["a or b and c -> a and b and c", "b and c -> b or c"]),
        ("x = not -a", ["not -a -> -a", "-a -> a"]),
        ("x += 1", ["x += 1 -> pass", "x += 1 -> x -= 1", "1 -> 2"]),
        ("return False", ["False -> True"]),
        ("f(a)", ["f(a) -> pass"]),
        ("raise ValueError(f'{1 + 2} is not {3}')", ["raise ValueError(f'{1 + 2} is not {3}') -> pass"]),
        ("warn('no', 3)", ["warn('no', 3) -> pass"]),
        ("x: int | None = None", []),
        ("x = zip(a, b, strict=True)", []),
        ("x = a if b else c", ["b -> not (b)"]),
        ("x = [a for a in b if a > 'ä']", ["a > 'ä' -> not (a > 'ä')", "a > 'ä' -> a >= 'ä'"]),
    ],
)
def test_each_operator(statement: str, changes: list[str]) -> None:
    """One small change each, in the order of the text or of the tree."""
    found = mutants(f'def f(a, b, c):\n    """A + B."""\n    {statement}\n')
    assert sorted(str(mutant) for mutant in found) == sorted(f"f: {change}" for change in changes)


def test_a_mutant_has_the_lines_of_its_source() -> None:
    """Also where a statement of several lines goes, and where a letter takes several bytes."""
    source = "def f(a):\n    s = 'ä', a + 1\n    f(\n        a\n    )\n    return (\n        a\n    )\n"
    found = mutants(source)
    assert len(found) == 4
    for mutant in found:
        changed = mutant.applied(source)
        assert changed.count("\n") == source.count("\n")
        assert changed != source


def test_a_default_belongs_to_what_runs_and_a_field_to_the_import() -> None:
    """The line that a test has to run for a mutant to matter."""
    source = "SIZE = 1\nclass C:\n    field: int = 2\n    def f(self, a=3):\n        '''Words.'''\n        return a\n"
    assert {str(mutant): mutant.line for mutant in mutants(source)} == {
        "module: 1 -> 2": 0,
        "C: 2 -> 3": 0,
        "C.f: 3 -> 4": 6,
        "C.f: return a -> return None": 6,
    }


def test_an_instrumented_module_notes_the_statements_that_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """By their lines in the source; its docstring and `__future__` stay first."""
    lines = ['"""Words."""', "from __future__ import annotations", "def f(a):", '    """Words."""']
    source = "\n".join([*lines, "    if a:", "        return 1", "    return 2"])
    names: dict[str, object] = {}
    exec(instrumented(source, "m.py"), names)
    ran: list[tuple[str, int]] = []
    names["_touch"] = lambda file, line: ran.append((file, line))
    assert names["f"](True) == 1  # type: ignore[operator]
    assert ran == [("m.py", 5), ("m.py", 6)]


def test_the_interval_is_wilsons() -> None:
    """Newcombe 1998, table I: 81 of 263, and 0 of 20."""
    assert [round(x, 4) for x in interval(81, 263)] == [0.2553, 0.3662]
    assert [round(x, 4) for x in interval(0, 20)] == [0.0, 0.1611]
