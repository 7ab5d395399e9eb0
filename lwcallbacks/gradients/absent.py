"""Parameters that are to learn and cannot: without a gradient, or in no optimizer; over logged steps, in NumPy.

absent = Absent()
absent.feed(50, Members(learning=("a.weight", "b.weight")), with_gradient=("b.weight",))
absent.findings(lambda name: name.rpartition(".")[0])      # by module: [Finding("a", "no gradient", ...)], if it lasts
absent.passed(lambda name: name.rpartition(".")[0])        # what was found before, with its last step

A parameter that is used now and then, as an expert of a mixture, is no finding: a pause has to be longer than twice the
longest before, and so long that steps which have a gradient as often as before, by chance and each by itself, would
hardly ever pause for as long.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lwcallbacks.gradients.finding import NEEDED, WINDOW, Finding, Illness, plural, severity

BY_CHANCE = 1e-4
"""Probability of a pause below which it is no chance."""
_ILLNESSES: tuple[Illness, ...] = ("no gradient", "in no optimizer")


@dataclass(frozen=True)
class Members:
    """Which parameters an optimizer has at one of its steps, by name.

    Attributes:
        learning: those that require a gradient, in the order of the module.
        frozen: those that do not.
        outside: those of the whole network that have a gradient, and that no optimizer has.
    """

    learning: tuple[str, ...] = ()
    frozen: tuple[str, ...] = ()
    outside: tuple[str, ...] = ()


class Absent:
    """See the module's synopsis.

    >>> absent = Absent()
    >>> for step in range(8):
    ...     absent.feed(step, Members(learning=("a.weight", "b.weight")), ["b.weight"])
    >>> print(*absent.findings(lambda name: name.rpartition(".")[0]))
    a: never had a gradient, in 8 logged steps, since step 0
    """

    def __init__(self) -> None:
        self._names: dict[str, int] = {}
        self._arrays = _empty(0)
        self._optimizers: list[str] = []
        self._places: dict[tuple[str, ...], np.ndarray] = {}

    def know(self, names: Iterable[str]) -> None:
        """Of those without a gradient together, what comes last here is named first."""
        self._rows(tuple(names))

    def feed(self, step: int, members: Members, with_gradient: Iterable[str], optimizer: str = "") -> None:
        """Take in a logged step of an optimizer.

        What begins with its name and a dot, or is called so, are parameters that the network does not have.
        """
        if optimizer and optimizer not in self._optimizers:
            self._optimizers.append(optimizer)
        rows = self._rows(members.learning)
        outside, frozen = self._rows(members.outside), self._rows(members.frozen)
        a, here = self._arrays, set(with_gradient)
        has = np.array([name in here for name in members.learning], bool)
        a["optimized"][rows] = True
        a["outside"][rows] = a["run"][frozen] = 0
        begins = rows[~has & (a["run"][rows] == 0)]
        a["since"][begins] = step
        a["run"][rows[~has]] += 1
        ends = rows[has & (a["run"][rows] > 0)]
        a["longest"][ends] = np.maximum(a["longest"][ends], a["run"][ends])
        a["pauses"][ends] += a["run"][ends]
        a["run"][ends] = 0
        a["seen"][rows[has]] += 1
        new = outside[a["outside"][outside] == 0]
        a["since"][new] = step
        a["outside"][outside] += 1
        gone = np.setdiff1d(np.flatnonzero(a["outside"]), outside)
        a["outside"][gone] = 0
        self._look_back(step, np.union1d(rows, outside))

    def _look_back(self, step: int, rows: np.ndarray) -> None:
        """What is found now, if it should pass: from when to when it was seen, and in how many logged steps."""
        a, ill = self._arrays, self._ill(rows)
        now = {"was_since": a["since"][rows], "was_until": step, "was_in": np.maximum(a["run"], a["outside"])[rows]}
        for name, value in now.items():
            a[name][rows] = np.where(ill, np.broadcast_to(value, len(rows))[:, None], a[name][rows])

    def _ill(self, rows: np.ndarray | slice) -> np.ndarray:
        """Which of these parameters have which of `_ILLNESSES` by now, bool [M, 2]."""
        a = {name: array[rows] for name, array in self._arrays.items()}
        is_over = (a["run"] >= WINDOW) & (a["run"] > 2 * a["longest"])
        share = a["seen"] / (a["seen"] + a["pauses"] + 1)  # as if there had been one pause more
        is_over &= a["run"] * np.log1p(-share) <= math.log(BY_CHANCE) * (a["seen"] > 0)
        return np.stack([is_over, a["outside"] >= NEEDED], 1)

    def findings(self, module: Callable[[str], str]) -> list[Finding]:
        """By module where all parameters of one have it, else by parameter; in the order of `know`."""
        a, found = self._arrays, []
        for illness, name, rows in self._together(module, self._ill(slice(None))):
            steps = plural(int(a["run"][rows].min()), "logged step")
            text = f"no gradient in {steps}" if a["seen"][rows].any() else f"never had a gradient, in {steps}"
            if illness == "in no optimizer":
                text = "gets a gradient and is in no optimizer of the Trainer"
            elif not a["seen"][rows].any() and list(self._names)[rows[0]].partition(".")[0] in self._optimizers:
                text = f"{plural(len(rows), 'tensor')} without a gradient that the model does not have: "
                text += "were its parameters replaced after the optimizer was made?"
            found.append(Finding(name, illness, int(a["since"][rows].max()), text, severity(illness, 1)))
        return found

    def passed(self, module: Callable[[str], str]) -> list[Finding]:
        """What was found and is over, the last time of each; by module where that is the same of all parameters."""
        a, names, found = self._arrays, list(self._names), []
        was = (a["was_until"] >= 0) & ~self._ill(slice(None))
        for illness, module_name, rows in self._together(module, was):
            rule = _ILLNESSES.index(illness)
            times = {i: tuple(int(a[key][i, rule]) for key in ("was_since", "was_until", "was_in")) for i in rows}
            is_one = len(set(times.values())) == 1
            for name, (since, until, number) in {module_name if is_one else names[i]: times[i] for i in rows}.items():
                text = f"no gradient in {plural(number, 'logged step')}"
                if illness == "in no optimizer":
                    text = "had a gradient and was in no optimizer of the Trainer"
                found.append(Finding(name, illness, since, text, severity(illness, 1), until))
        return found

    def _together(self, module: Callable[[str], str], ill: np.ndarray) -> list[tuple[Illness, str, list[int]]]:
        """Illness, name and parameters: those of a module together, where all of them have it."""
        a, names = self._arrays, list(self._names)
        modules: dict[str, list[int]] = {}
        for i in np.flatnonzero(a["optimized"] | (a["outside"] > 0)).tolist():
            modules.setdefault(module(names[i]), []).append(i)
        found: list[tuple[Illness, str, list[int]]] = []
        for rule, illness in enumerate(_ILLNESSES):
            for name, rows in modules.items():
                own = [i for i in rows if ill[i, rule]]
                found += [(illness, name, own)] if len(own) == len(rows) else [(illness, names[i], [i]) for i in own]
        return found

    def _rows(self, names: tuple[str, ...]) -> np.ndarray:
        """Where they are in the state, int [P]."""
        if names not in self._places:
            new = [name for name in dict.fromkeys(names) if name not in self._names]
            self._names |= {name: len(self._names) + i for i, name in enumerate(new)}
            added = _empty(len(new))
            self._arrays = {name: np.concatenate([a, added[name]]) for name, a in self._arrays.items()}
            if len(self._places) > 16:
                self._places.clear()
            self._places[names] = np.array([self._names[name] for name in names], int)
        return self._places[names]

    def state_dict(self) -> dict[str, Any]:
        """Names, and arrays of one number for each."""
        return {
            "names": list(self._names),
            "optimizers": list(self._optimizers),
            **{key: a.copy() for key, a in self._arrays.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self._names = {name: i for i, name in enumerate(state["names"])}
        self._optimizers = list(state["optimizers"])
        self._arrays = {key: np.array(state[key], a.dtype) for key, a in _empty(0).items()}
        self._places = {}


def _empty(size: int) -> dict[str, np.ndarray]:
    """The state of so many parameters that were never fed."""
    counts = ("seen", "run", "longest", "pauses", "outside")
    found = {name: np.zeros(size, np.int64) for name in counts}
    # Of the last time that each of `_ILLNESSES` was found: from when to when, and in how many logged steps.
    before = {name: np.full((size, len(_ILLNESSES)), -1) for name in ("was_since", "was_until", "was_in")}
    return {**found, **before, "since": np.full(size, -1), "optimized": np.zeros(size, bool)}
