"""Which layer looks ill: each rule at its threshold, and what it must not take for an illness."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch

from lwcallbacks.gradients import diagnosis as rules
from lwcallbacks.gradients.absent import Members
from lwcallbacks.gradients.changes import Kept
from lwcallbacks.gradients.diagnosis import Diagnosis
from lwcallbacks.gradients.layers import Layers
from lwcallbacks.gradients.read import Row, finished, read
from lwcallbacks.reductions import LogHistogram
from lwcallbacks.testing.same import difference

Parameter = tuple[torch.Tensor, float]
"""A gradient, and what a step changes of a parameter whose norm is 1."""


def step_of(parameters: Mapping[str, Parameter]) -> Layers:
    """One step, read as the callback reads it."""
    rows = []
    for name, (gradient, _) in parameters.items():
        weights = torch.full(gradient.shape, gradient.numel() ** -0.5, dtype=gradient.dtype)
        rows.append(Row(name, torch.nn.Parameter(weights)))
    kept = Kept([row.parameter for row in rows])
    for row, (gradient, change) in zip(rows, parameters.values(), strict=True):
        row.parameter.data *= 1 + change
        row.parameter.grad = gradient
    layers = finished(read(rows, LogHistogram(), ["norms", "changes", "weights"], kept))
    assert layers is not None
    return layers


def normal(norm: float, size: int = 200, seed: int = 0) -> torch.Tensor:
    x = torch.randn(size, generator=torch.Generator().manual_seed(seed))
    return x * (norm / x.norm())


def network(**more: Parameter) -> dict[str, Parameter]:
    """Four sound layers, and others."""
    sound = {f"net.{i}.{kind}": (normal(0.1 * (i + 1), seed=i), 1e-3) for i in range(4) for kind in ("weight", "bias")}
    return {**sound, **{name.replace("__", "."): value for name, value in more.items()}}


def fed(
    parameters: Mapping[str, Parameter], times: int, diagnosis: Diagnosis | None = None, begin: int = 0, every: int = 50
) -> Diagnosis:
    diagnosis, layers = diagnosis or Diagnosis(), step_of(parameters)
    for i in range(begin, begin + times):
        diagnosis.feed(every * i, layers)
    return diagnosis


def found(diagnosis: Diagnosis) -> list[tuple[str, str, int]]:
    return [(one.layer, one.illness, one.since) for one in diagnosis.findings()]


def test_a_sound_network_has_no_findings() -> None:
    """Norms that differ by a few times, ratios about 1e-3."""
    assert found(fed(network(), 100)) == []


ILL = {
    "vanishes": ((normal(1e-6), 1e-3), "norm 1e-06, that of a quarter of the layers above 0.4"),
    "zero": ((torch.zeros(200), 1e-3), "gradient zero in 100 % of the elements"),
    "learns too fast": ((normal(0.1), 0.2), "update ratio 0.2: the learning rate is too high for this layer"),
    "explodes": ((normal(0.1), 3.0), "explodes: a step changes it by 3.0 times its own size"),
    "slower than the others": (
        (normal(0.1), 2.0**-20),
        "steps about 1,000 times smaller than those of the other layers",
    ),
    "not updated": ((normal(0.1), 0.0), "it has a gradient, and its learning rate is 0 or too small"),
}


@pytest.mark.parametrize("illness", ILL)
def test_an_illness_is_named_with_its_layer_and_its_first_step(illness: str) -> None:
    """After so many logged steps that show it, not after fewer; and no more once it is over."""
    parameter, words = ILL[illness]
    diagnosis = fed(network(last__weight=(normal(0.1), 1e-3)), 20)
    needed = rules.WINDOW if illness in ("zero", "not updated") else rules.NEEDED
    # Above, it had a ratio that was usual: what hardly learns has to be far behind the others as well.
    fed(network(last__weight=parameter), needed - 1, diagnosis, begin=20)
    assert found(diagnosis) == []
    fed(network(last__weight=parameter), 1, diagnosis, begin=20 + needed - 1)
    assert found(diagnosis) == [("last", illness, 1000)]
    [finding] = diagnosis.findings()
    assert words in finding.how_much
    assert str(finding) == f"last: {finding.how_much}, since step 1,000"
    assert diagnosis.passed() == []
    fed(network(last__weight=(normal(0.1), 1e-3)), rules.WINDOW, diagnosis, begin=40)
    assert found(diagnosis) == []
    until = 50 * (20 + needed - 1)
    [past] = diagnosis.passed()
    assert (past.layer, past.illness, past.since, past.until) == ("last", illness, 1000, until)
    assert str(past).endswith(f", steps 1,000 to {until:,}")


def test_young_layers_are_given_time() -> None:
    """At every step, a parameter that began at zero and a warm-up of the learning rate are no illness yet."""
    for illness, age in (("vanishes", rules.YOUNG), ("learns too fast", rules.SETTLED)):
        ill = network(last__weight=ILL[illness][0])
        diagnosis = fed(ill, age, every=1)
        assert found(diagnosis) == []
        assert found(fed(ill, 1, diagnosis, begin=age, every=1)) == [("last", illness, 0)]


def test_a_layer_that_hardly_learns_is_given_time() -> None:
    """Of so few layers none is compared with the others; at every step, rates may be warmed up."""
    few = {"net.0.weight": (normal(0.2), 1e-3), "last.weight": (normal(0.1), 2.0**-23)}
    diagnosis = fed(few, rules.SETTLED, every=1)
    assert found(diagnosis) == []
    fed(few, 1, diagnosis, begin=rules.SETTLED, every=1)
    assert found(diagnosis) == [("last", "hardly learns", 0)]
    assert diagnosis.findings()[0].how_much == "update ratio 1e-07: it hardly learns"


def heavy(times: float, change: float, last: torch.Tensor | None = None, **more: Parameter) -> Layers:
    """A layer has weights that are so many times as large as those of the others, beside a bias."""
    gradient = normal(0.1) if last is None else last
    layers = step_of(network(last__weight=(gradient, change), last__bias=(normal(0.1, 9), change), **more))
    assert layers.weights is not None
    assert layers.changes is not None
    at = [times if name == "last.weight" else 1.0 for name in layers.names]
    return replace(layers, weights=layers.weights * at, changes=layers.changes * at)


def test_weights_that_began_too_large_are_named_from_the_start() -> None:
    """And above the layers that they make explode; weights that have grown are not named so."""
    diagnosis = Diagnosis()
    for i in range(20):
        diagnosis.feed(50 * i, heavy(300, 1e-1 if i < 5 else 1e-6))
    [finding] = diagnosis.findings()
    assert (finding.layer, finding.illness, finding.since) == ("last", "large weights", 0)
    words = "weights about 300 times as large as those of the other layers"
    assert finding.how_much == f"{words}, and a step changes little of them: look at how they are initialised"
    odd = torch.full((200,), float("nan"))
    layers = heavy(300, 1e-6, odd)
    diagnosis.feed(1000, replace(layers, norms=layers.norms * np.nan, largest=layers.norms * np.nan))
    assert str(diagnosis.findings()[0]) == f"last: {words}, and then 200 NaN in 1 logged step, since step 0"
    grown = Diagnosis()
    for i in range(20):
        grown.feed(50 * i, heavy(300 if i else 1, 1e-6))
    assert "large weights" not in {one.illness for one in grown.findings()}


def test_weights_of_which_hardly_anything_is_left_are_named() -> None:
    """A hundredth of what they began with; what began at zero, or small, has not shrunk."""
    for left, is_said in ((0.9 * rules.SHRUNK, True), (1.1 * rules.SHRUNK, False)):
        diagnosis = Diagnosis()
        for i in range(20):
            layers = heavy(left if i > 9 else 1.0, 1e-3)
            diagnosis.feed(50 * i, layers)
        assert found(diagnosis) == [("last", "weights vanish", 500)] * is_said
    diagnosis = Diagnosis()
    for i in range(20):
        diagnosis.feed(50 * i, heavy(0.0 if i == 0 else 1e-3, 1e-3))
    assert found(diagnosis) == []


def dying(times: float, change: float) -> Layers:
    """Beside it another layer has lost its gradient."""
    return heavy(times, change, dead__weight=(torch.zeros(200), 0.0))


def started(layers: Layers) -> Diagnosis:
    """One that has seen the parameters before the first step."""
    diagnosis = Diagnosis()
    assert layers.weights is not None
    diagnosis.feed_start(layers.names, layers.elements, layers.weights)
    return diagnosis


def test_weights_that_steps_have_blown_up_are_named() -> None:
    """At a logged step or before the first one, where they have cost a gradient; not those that grow little by little,
    or stay of a usual size."""
    words = "weights grown to about 300 times their size at the start: the learning rate is too high"
    before = started(dying(1, 0.0))
    for i in range(10):
        before.feed(50 * i, dying(300, 1e-6))
    assert str(before.findings()[0]) == f"last: {words}, since step 0"
    learning = started(heavy(1, 0.0))
    for i in range(10):
        learning.feed(50 * i, heavy(300, 1e-5))
    assert found(learning) == []
    leaping, slow, soon, small = (started(dying(x, 0.0)) for x in (1, 1, 1, 1e-3))
    for i in range(20):
        leaping.feed(50 * i, dying(1 if i < 2 else 300, 299.0 if i == 1 else 1e-6))
        slow.feed(50 * i, dying(min(2.0**i, 300), 1e-5))
        soon.feed(50 * i, dying(300 if i else 1, 1e-5))
        small.feed(50 * i, dying(30 if i else 1e-3, 1e-5))
    dead = ("dead", "zero", 0)
    assert found(leaping) == [("last", "weights grow", 100), dead]
    assert found(soon) == [("last", "weights grow", 50), dead]
    assert found(slow) == [dead]
    assert found(small) == [dead]


def test_what_grows_beside_a_layer_that_began_too_large_is_not_named() -> None:
    """It is the initialisation that is to be looked at, and not the learning rate."""

    def beside(times: float) -> Layers:
        layers = dying(times, 1e-3)
        assert layers.weights is not None
        return replace(
            layers, weights=layers.weights * [5000 if name == "net.2.weight" else 1 for name in layers.names]
        )

    diagnosis = started(beside(1))
    for i in range(20):
        diagnosis.feed(50 * i, beside(300))
    assert found(diagnosis) == [("net.2", "large weights", 0), ("dead", "zero", 0)]


def test_what_a_layer_began_with_is_what_a_checkpoint_says() -> None:
    """Where training goes on from one, parameters have changed by then; and layers that nobody knew are taken in."""
    first = started(dying(1, 0.0))
    first.feed(0, dying(300, 1e-6))
    second = Diagnosis()
    second.load_state_dict(first.state_dict())
    layers = dying(300, 0.0)
    assert layers.weights is not None
    second.feed_start((*layers.names, "new"), np.append(layers.elements, 200), np.append(layers.weights, 1.0))
    for i in range(1, 10):
        second.feed(50 * i, dying(300, 1e-6))
    assert found(second) == [("last", "weights grow", 0), ("dead", "zero", 0)]
    assert second.findings()[0].how_much.startswith("weights grown to about 300 times")


def test_parameters_of_one_name_begin_as_one() -> None:
    """As with `depth=`: the root mean square is that of all their elements."""
    diagnosis, layers = Diagnosis(by_module=False), dying(1, 1e-6)
    assert layers.weights is not None
    layers = replace(layers, weights=layers.weights * np.arange(1, len(layers.names) + 1))
    assert layers.weights is not None
    names = ["whole" if name != "dead.weight" else name for name in layers.names]
    diagnosis.feed_start(names, layers.elements, layers.weights)
    for i in range(10):
        diagnosis.feed(i, replace(layers, weights=1000 * layers.weights).grouped(names))
    assert diagnosis.findings()[0].how_much.startswith("weights grown to about 1,000 times")


def test_a_gradient_that_is_zero_behind_a_leap_says_so() -> None:
    """By how much the last step before has changed the layer, if that was by more than all of it, and lately."""
    words = "gradient zero in 100 % of the elements"
    for since, behind in ((0, ", behind a step that changed it by 5.0 times its own size"), (rules.WINDOW, "")):
        diagnosis = fed(network(last__weight=(normal(0.1), 5.0)), 2)
        fed(network(last__weight=(normal(0.1), 1e-3)), since, diagnosis, begin=2)
        fed(network(last__weight=(torch.zeros(200), 0.0)), rules.WINDOW, diagnosis, begin=2 + since)
        assert [one.how_much for one in diagnosis.findings()] == [words + behind]


def test_a_layer_that_began_at_zero_beside_small_gradients_does_not_explode() -> None:
    """It changes by much of itself for a while; a head behind layers that begin at zero, for instance."""
    layers = step_of(network(last__weight=(normal(200.0), 0.2)))
    diagnosis = Diagnosis()
    for i in range(rules.SETTLED):
        diagnosis.feed(i, layers)
    assert found(diagnosis) == []
    for i in range(rules.NEEDED):
        diagnosis.feed(rules.SETTLED + i, layers)
    assert found(diagnosis) == [("last", "explodes", rules.SETTLED)]


def test_a_layer_is_listed_once_among_what_has_passed() -> None:
    """With the worst that it had."""
    learning = Members(learning=("last.weight",))
    diagnosis = fed(network(last__weight=(torch.zeros(200), 0.0)), rules.WINDOW)
    for i in range(rules.WINDOW, 40):
        is_there = i >= 20
        diagnosis.feed(50 * i, step_of(network(last__weight=(normal(0.1), 1e-3)) if is_there else network()))
        diagnosis.feed_members(50 * i, learning, learning.learning if is_there else ())
    assert found(diagnosis) == []
    assert [(one.layer, one.illness, one.until) for one in diagnosis.passed()] == [("last", "no gradient", 950)]


def test_a_norm_that_grows_explodes_only_where_it_does_harm() -> None:
    """A hundred times its own median: by itself it is nothing, with changes of a fifth of the layer it explodes."""
    for change, expected in ((1e-3, []), (0.2, [("last", "explodes", 1000)])):
        diagnosis = fed(network(last__weight=(normal(0.1), 1e-3)), 20)
        fed(network(last__weight=(normal(20.0), change)), rules.NEEDED, diagnosis, begin=20)
        assert found(diagnosis) == expected
    assert "norm 200 times the median, and a step changes it by 20 %" in diagnosis.findings()[0].how_much


def clipped(norms: Mapping[str, float], clip: float, change: float = 1e-3) -> Layers:
    """A step in which norms were clipped to `clip` in total."""
    total = sum(norm**2 for norm in norms.values()) ** 0.5
    left = min(1.0, clip / total)
    layers = step_of({name: (normal(norm * left, seed=i), change) for i, (name, norm) in enumerate(norms.items())})
    return replace(layers, before=np.array(list(norms.values())))


def shown(layers: Layers, times: int = 20) -> list[str]:
    diagnosis = Diagnosis()
    for step in range(times):
        diagnosis.feed(50 * step, layers)
    return [f"{one.layer}: {one.how_much}" for one in diagnosis.findings()]


SOUND = {"norm.weight": 0.1, "mid.weight": 0.2, "head.weight": 0.3}


def test_what_is_clipped_to_almost_nothing_explodes_and_not_what_is_beside_it() -> None:
    """The layer with the largest norm before clipping is named, though its steps are small. Others do not vanish."""
    assert shown(clipped({**SOUND, "rnn.weight": 2e9}, 0.4)) == [
        "rnn: explodes: its norm before clipping is 2e+09, and clipping leaves 2e-10 of it"
    ]
    assert shown(clipped({**SOUND, "rnn.weight": 2e9}, 0.5), rules.NEEDED - 1) == []
    assert shown(clipped({**SOUND, "rnn.weight": 200.0}, 0.5)) == []


def test_a_loss_that_is_a_sum_does_not_explode() -> None:
    """All layers are large, and clipping makes all of them small."""
    assert shown(clipped({name: 1e6 * norm for name, norm in SOUND.items()}, 0.5)) == []


def test_a_gradient_that_vanishes_is_named_under_clipping_too() -> None:
    """As long as something is left of the others."""
    [words] = shown(clipped({**SOUND, "first.weight": 1e-7}, 1e-2))
    assert words.startswith("first: gradient vanishes: norm 1e-07, ")


def test_clipping_by_value_does_not_hide_that_a_gradient_vanishes() -> None:
    """Norms before clipping are compared."""
    layers = clipped({**SOUND, "last.weight": 1.0, "first.weight": 1e-6}, 10.0)
    small = replace(layers, norms=np.full(5, 1e-6))
    # Clipping leaves 1e-6 of it, and then nothing can be said; a hundredth does not hide it.
    assert shown(small) == []
    assert [words[:25] for words in shown(replace(layers, norms=np.full(5, 1e-2)))] == ["first: gradient vanishes:"]


def test_layers_of_which_none_is_updated_are_all_named() -> None:
    """Whatever the median of the layers is. Each is said to be one of all, until one is updated."""
    still = {name: (gradient, 0.0) for name, (gradient, _) in network().items()}
    diagnosis = fed(still, 8)
    assert {(one.layer, one.illness) for one in diagnosis.findings()} == {(f"net.{i}", "not updated") for i in range(4)}
    assert all("nor is any other layer" in one.how_much for one in diagnosis.findings())
    fed({**still, "last.weight": (normal(0.1), 1e-3)}, 1, diagnosis, begin=8)
    assert len(diagnosis.findings()) == 4
    assert not any("nor is any other layer" in one.how_much for one in diagnosis.findings())


def test_a_loss_of_almost_zero_is_no_illness() -> None:
    """What rounding loses of its gradients is no layer's fault."""
    still = {name: (1e-6 * gradient, 0.0) for name, (gradient, _) in network().items()}
    assert found(fed(still, 20)) == []


def test_the_first_step_that_was_not_finite_is_named_if_it_was_not_logged() -> None:
    """For layers that had it then; others keep the logged step."""
    diagnosis = fed(network(), 3)
    odd = torch.full((200,), float("nan"))
    fed(network(a__weight=(odd, 1e-3), b__weight=(odd, 1e-3)), 1, diagnosis, begin=3)
    diagnosis.feed_nonfinite(137, ["a.weight", "unknown.weight"])
    assert found(diagnosis) == [("a", "not finite", 137), ("b", "not finite", 150)]
    fed(network(a__weight=(odd, 1e-3)), 1, diagnosis, begin=4)
    diagnosis.feed_nonfinite(180, ["a.weight", "b.weight"])  # as after a resume
    assert found(diagnosis) == [("a", "not finite", 137), ("b", "not finite", 150)]


def test_a_layer_without_a_gradient_is_named_once_and_the_nearest_first() -> None:
    """What was said of it before is no more."""
    members = Members(learning=("net.0.weight", "last.weight", "end.weight"))
    diagnosis = Diagnosis()
    vanishing = step_of(network(last__weight=(normal(1e-6), 1e-3)))
    for i in range(30):
        there = ("last.weight", "end.weight") if i < 20 else ("end.weight",)
        diagnosis.feed(50 * i, vanishing if i < 20 else step_of(network()))
        diagnosis.feed_members(50 * i, members, there)
    assert found(diagnosis) == [("net.0", "no gradient", 0), ("last", "no gradient", 1000)]


def test_one_step_is_enough_for_nan_and_infinity() -> None:
    """With their numbers, and the step at which they came first; it stays said."""
    gradient = normal(0.1)
    gradient[:3], gradient[3:5] = float("nan"), float("inf")
    diagnosis = fed(network(), 3)
    fed(network(last__weight=(gradient, 1e-3)), 1, diagnosis, begin=3)
    assert found(diagnosis) == [("last", "not finite", 150)]
    fed(network(last__weight=(normal(0.1), 1e-3)), 30, diagnosis, begin=4)
    assert [one.how_much for one in diagnosis.findings()] == ["3 NaN and 2 Inf in 1 logged step"]


def test_the_layer_that_exploded_first_is_named_first() -> None:
    """When all of them are NaN, what went before tells which of them began."""
    diagnosis = fed(network(), 3)
    for i, who in enumerate(("net__2__weight", "net__1__weight")):
        fed(network(**{who: (normal(5.0), 30.0)}), 1, diagnosis, begin=3 + i)
    odd = {name: (torch.full((200,), float("nan")), change) for name, (_, change) in network().items()}
    fed(odd, 20, diagnosis, begin=5)
    assert found(diagnosis)[:3] == [
        ("net.2", "explodes", 150),
        ("net.1", "explodes", 200),
        ("net.3", "not finite", 250),
    ]
    assert "changed it by 21 times its own size, and then 8,000 NaN in 20 logged steps, from 250 on" in str(
        diagnosis.findings()[0]
    )


def test_of_layers_without_a_gradient_the_last_is_named_first() -> None:
    """The others get none because it passes none on."""
    dead = {f"net.{i}.{kind}": (torch.zeros(200), 0.0) for i in range(2) for kind in ("weight", "bias")}
    assert found(fed({**network(), **dead}, 9)) == [("net.1", "zero", 0), ("net.0", "zero", 0)]


def test_a_loss_without_a_gradient_is_no_layer_s_illness() -> None:
    """Where no layer has one, the loss gives none: all samples are right to the last bit, for instance."""
    assert found(fed({name: (torch.zeros(200), 0.0) for name in network()}, 20)) == []


NO_ILLNESS: dict[str, dict[str, Parameter]] = {
    "a bias before a batch norm has nothing but rounding": {
        "conv.weight": (normal(0.1), 1e-3), "conv.bias": (normal(1e-9), 1e-9),
    },
    "an embedding has a gradient in few rows": {
        "embed.weight": (torch.cat([normal(0.1, 10), torch.zeros(100_000)]), 1e-3),
    },
    "weights behind inputs that are always zero": {
        "first.weight": (torch.cat([normal(0.1, 10), torch.zeros(5000)]), 1e-3), "first.bias": (normal(0.1), 1e-3),
    },
    "one number": {"temperature": (torch.tensor([1e-3]), 1e-3)},
    "a sample of an embedding in which no row has changed": {
        "embed.weight": (torch.cat([normal(0.1, 10), torch.zeros(100_000)]), 0.0),
    },
    "a bias that stays in a module that moves": {"a.weight": (normal(0.1), 1e-3), "a.bias": (normal(0.1), 0.0)},
    "a large layer has elements that are small": {"large.weight": (normal(1e-3, 100_000), 1e-3)},
}  # fmt: skip


@pytest.mark.parametrize("what", NO_ILLNESS)
def test_what_is_no_illness(what: str) -> None:
    """False alarms are worse than missed ones."""
    assert found(fed({**network(), **NO_ILLNESS[what]}, 60)) == []


def test_a_schedule_that_ends_is_no_illness() -> None:
    """At its end all layers change by little; a layer that never changed by more hardly learns."""
    diagnosis = fed({name: (gradient, 1e-3) for name, (gradient, _) in network().items()}, 20)
    slow = {name: (gradient, 2.0**-23) for name, (gradient, _) in network().items()}
    assert found(fed(slow, 20, diagnosis, begin=20)) == []
    assert {illness for _, illness, _ in found(fed(slow, 20))} == {"hardly learns"}


def test_float16_that_loses_a_gradient() -> None:
    """Where what is left piles up at the smallest numbers; only where gradients are worked out in float16."""
    for scale, expected in ((1e-2, False), (1e-5, True)):
        half = {name: ((gradient * scale).half(), 1e-2) for name, (gradient, _) in network().items()}
        is_lost = {one for _, one, _ in found(fed(half, 10, Diagnosis(in_float16=True)))} == {"lost in float16"}
        assert is_lost == expected
    whole = {name: (gradient.float(), change) for name, (gradient, change) in half.items()}
    assert "lost in float16" not in {illness for _, illness, _ in found(fed(whole, 10))}


def test_dead_units_of_modules() -> None:
    """By the module's own name, which need not have a parameter; beside what its parameters say."""
    diagnosis, layers = Diagnosis(), step_of(network(net__4__weight=(torch.zeros(200), 1e-3)))
    few = rules.FEWEST_VALUES - 1
    dead = {"net.1": (0.62, 100.0), "act": (0.43, 32.0), "net.2": (0.39, 1e4), "new": (1.0, few), "net.4": (0.5, 64.0)}
    for step in range(rules.GONE + 10):
        diagnosis.feed(50 * step, layers)
        diagnosis.feed_units(50 * step, dead if step > 2 else {})
    assert found(diagnosis) == [("net.4", "zero", 0), ("net.1", "dead units", 150), ("act", "dead units", 150)]
    assert str(diagnosis.findings()[2]) == "act: dead units: 43 % give nothing for any sample, since step 150"
    for step in range(100, 106):
        diagnosis.feed_units(50 * step, dict.fromkeys(dead, (0.0, float(few))))  # which tells nothing
    assert len(found(diagnosis)) == 3
    for step in range(106, 109):
        diagnosis.feed_units(50 * step, dict.fromkeys(dead, (0.0, 100.0)))
    assert found(diagnosis) == [("net.4", "zero", 0)]


def test_ten_at_most_the_worst_first() -> None:
    """By illness, then by how much."""
    many = {f"layer.{i}.weight": (normal(10.0 ** (-6 - i / 3), seed=i), 1e-3) for i in range(20)}
    others = {f"sound.{i}.weight": (normal(1.0, seed=i), 1e-3) for i in range(60)}
    diagnosis = fed({**many, **others, "hot.weight": (normal(0.1), 5.0)}, 20)
    names = [one.layer for one in diagnosis.findings()]
    assert names == ["hot", *(f"layer.{i}" for i in range(19, 10, -1))]
    severities = [one.severity for one in diagnosis.findings()]
    assert severities == sorted(severities, reverse=True)


def test_layers_by_themselves() -> None:
    """Names that are layers already stay as they are."""
    diagnosis = Diagnosis(by_module=False)
    fed({**network(), "net.1.bias": (torch.zeros(200), 0.0)}, 10, diagnosis)
    assert found(diagnosis) == [("net.1.bias", "zero", 0)]


def test_a_layer_that_was_frozen_is_not_listed_any_more() -> None:
    """Its last steps are long ago."""
    diagnosis = fed(network(last__weight=(torch.zeros(200), 0.0)), 10)
    fed(network(), rules.GONE - 1, diagnosis, begin=10)
    assert found(diagnosis) == [("last", "zero", 0)]
    assert found(fed(network(), 1, diagnosis, begin=100)) == []


def test_without_update_ratios_only_growth_explodes() -> None:
    """As with `update_ratio=False`."""
    diagnosis = Diagnosis()
    for step in range(30):
        rows = []
        for name, (gradient, _) in network(last__weight=(normal(0.1 if step < 20 else 50.0), 0.0)).items():
            parameter = torch.nn.Parameter(torch.ones_like(gradient))
            parameter.grad = gradient
            rows.append(Row(name, parameter))
        diagnosis.feed(step, finished(read(rows, LogHistogram(mantissa_bits=0), ["norms"])))
    assert found(diagnosis) == [("last", "explodes", 20)]


def test_it_goes_on_from_a_checkpoint_with_the_same_bits() -> None:
    """At whichever step; and what is kept does not grow."""
    steps = [
        step_of(
            network(last__weight=(normal(0.1 * 2.0 ** (-i), seed=i), 0.1 * i), **{f"new{i}__weight": (normal(1), 1)})
        )
        for i in range(30)
    ]
    dead = [{f"act{i // 10}": (0.1 * (i % 10), 50.0), "last": (0.6, 40.0)} for i in range(30)]
    members = [Members(layers.names[i % 2 :], outside=layers.names[: i % 2]) for i, layers in enumerate(steps)]
    whole = Diagnosis()
    for i, layers in enumerate(steps):
        whole.feed(i, layers)
        whole.feed_members(i, members[i], layers.names[:-1])
        whole.feed_units(i, dead[i])
    for cut in (0, 1, 13, 30):
        first, second = Diagnosis(), Diagnosis()
        for i, layers in enumerate(steps):
            if i == cut:
                second.load_state_dict(first.state_dict())
            (first if i < cut else second).feed(i, layers)
            (first if i < cut else second).feed_members(i, members[i], layers.names[:-1])
            (first if i < cut else second).feed_units(i, dead[i])
        last = second if cut < 30 else first
        assert difference(last.state_dict(), whole.state_dict()) is None
        assert last.findings() == whole.findings()
        assert last.passed() == whole.passed()

    def size(state: dict) -> int:
        return sum(x.nbytes for x in state.values() if isinstance(x, np.ndarray))

    assert size(fed(network(), 10).state_dict()) == size(fed(network(), 200).state_dict())
