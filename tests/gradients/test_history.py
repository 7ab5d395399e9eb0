"""One number of each layer over all logged steps, in a table that stays small."""

from __future__ import annotations

import numpy as np

from lwcallbacks.gradients.history import COLUMNS, ROWS, History, rows_of
from lwcallbacks.testing.same import difference


def filled(values: np.ndarray, names: list[str] | None = None, every: int = 10) -> History:
    """Of values [steps, P]."""
    history = History()
    for i, row in enumerate(values):
        history.add(every * i, names or [f"layer{k}" for k in range(values.shape[1])], row)
    return history


def test_a_column_is_the_largest_of_its_steps() -> None:
    """Whatever number of steps: as if all had been kept, and put together at the end."""
    values = np.random.default_rng(0).random((5 * COLUMNS, 3))
    for number in (1, COLUMNS, COLUMNS + 1, 2 * COLUMNS + 3, len(values)):
        history = filled(values[:number])
        stride = 1
        while number > stride * COLUMNS:
            stride *= 2
        starts = np.arange(0, number, stride)
        assert difference(history.steps, 10 * starts) is None
        assert difference(history.table(), np.fmax.reduceat(values[:number], starts, axis=0).T.copy()) is None


def test_infinity_wins_and_nothing_is_nothing() -> None:
    """One step that was not finite is seen in its column forever."""
    values = np.full((4 * COLUMNS, 2), np.nan)
    values[17, 0], values[18, 0] = np.inf, 3.0
    history = filled(values)
    assert np.flatnonzero(np.isinf(history.table()[0])).tolist() == [17 // 4]
    assert np.isnan(history.table()[1]).all()


def test_looking_changes_nothing() -> None:
    """Columns do not depend on when somebody looks, or saves."""
    values = np.random.default_rng(1).random((700, 2))
    other = History()
    for i, row in enumerate(values):
        other.add(10 * i, ["layer0", "layer1"], row)
        if i % 50 == 49:
            state = other.state_dict()
            other = History()
            other.load_state_dict(state)
            other.table()
    assert difference(other.state_dict(), filled(values).state_dict()) is None


def test_optimizers_of_one_step_share_a_column() -> None:
    """Each brings its own layers."""
    history = History()
    for step in range(3):
        history.add(step, ["generator"], np.array([1.0]))
        state, history = history.state_dict(), History()
        history.load_state_dict(state)  # a checkpoint between the two
        history.add(step, ["critic"], np.array([2.0]))
    assert history.names == ["generator", "critic"]
    assert history.table().tolist() == [[1, 1, 1], [2, 2, 2]]


def test_too_many_layers_are_put_together_by_name() -> None:
    """Their norms are those of all of them; a table never has more rows."""
    names = [f"blocks.{i}.{part}.{kind}" for i in range(40) for part in ("fc1", "fc2") for kind in ("weight", "bias")]
    history = filled(np.ones((2, len(names))), names)
    assert history.names == [f"blocks.{i}" for i in range(40)]
    assert history.table().tolist() == [[2.0, 2.0]] * 40
    for number in (1, ROWS, ROWS + 1, 1000, 10_000):
        for flat in ([f"p{i}" for i in range(number)], [f"net.{i}.weight" for i in range(number)]):
            rows = list(dict.fromkeys(rows_of(flat)))
            assert min(number, ROWS // 4) <= len(rows) <= ROWS


def test_layers_that_come_later_may_make_rows_one() -> None:
    """What was known of them before stays."""
    history = History()
    early = [f"blocks.{i}.weight" for i in range(40)]
    history.add(0, early, np.full(40, 3.0))
    history.add(1, [*early, *(f"blocks.{i}.bias" for i in range(40))], np.full(80, 4.0))
    assert history.names == [f"blocks.{i}" for i in range(40)]
    assert history.table()[7].tolist() == [3.0, 32**0.5]
