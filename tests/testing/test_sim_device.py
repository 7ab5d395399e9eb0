"""Simulated devices are strict where real ones are. Tests start processes of their own: torch keeps such a device."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from support.versions import needs_simulated_device

pytestmark = needs_simulated_device

SUPPORT = Path(__file__).resolve().parent.parent


def run(code: str) -> None:
    """Run code after `sim = simulated_device()` in a new process."""
    start = "import torch\nimport pytest\nfrom lwcallbacks.testing import *\nsim = simulated_device()\n"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(SUPPORT), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run([sys.executable, "-c", start + code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr


def test_a_simulated_device_is_as_strict_as_a_real_one() -> None:
    """Tensors of two devices do not meet, values are those of the CPU, and waits are logged."""
    run("""
# Devices do not mix, but for a CPU tensor without dimensions, and copies.
x = torch.ones(3, device="sim:0")
for other in (torch.ones(3, device="sim:1"), torch.ones(3)):
    with pytest.raises(RuntimeError, match="on the same device, but found (cpu and sim:0|sim:0 and sim:1)"):
        x + other
assert (x + torch.tensor(1.0)).device == torch.device("sim:0")
assert (x + x.to("sim:0")).tolist() == [2.0, 2.0, 2.0]
assert torch.zeros(3, device="sim:1").copy_(x).tolist() == [1.0, 1.0, 1.0]
assert torch.empty(2, device="sim").device == torch.device("sim:0")

# As many as were asked for: here 4.
assert torch.sim.device_count() == torch.accelerator.device_count() == 4

# Views share memory, in-place operators return their tensor, kernels have the CPU's bits.
x = torch.arange(6, device="sim:1")
y = x.view(2, 3)
assert y.add_(1) is y
assert x.tolist() == [1, 2, 3, 4, 5, 6]
assert x.device == y.device == torch.device("sim:1")
a = torch.randn(100)
b = a.to("sim:1")
for f in (torch.sum, torch.exp, lambda t: t.argsort(stable=True), lambda t: t.view(torch.int32) >> 3,
          lambda t: torch.zeros(4, device=t.device).scatter_reduce_(0, (t > 0).long(), t, "amax"),
          lambda t: t.topk(3).values, lambda t: torch.cat([t, t[:3]])):
    assert torch.equal(f(a), f(b).cpu())
assert repr(x) == repr(x.cpu())

# Tensors are made there in all of torch's ways, with the CPU's numbers.
for make, *args in ((torch.arange, 3), (torch.arange, 2, 5), (torch.arange, 1, 7, 2), (torch.linspace, 0, 1, 3),
                    (torch.eye, 2), (torch.eye, 2, 3)):
    made = make(*args, device="sim:1")
    assert made.device == torch.device("sim:1")
    assert torch.equal(made.cpu(), make(*args))
assert torch.randperm(3, device="sim:1").sort().values.tolist() == [0, 1, 2]

# By operator, in order; what does not wait is not there.
sim.waits.clear()
x = torch.ones(3, device="sim:0")
(x + 1).sum().mul_(2).to("sim:1")
assert sim.waits == []
x.sum().item(); x.cpu(); x[x > 0]; x.nonzero(); torch.zeros(3).copy_(x); x.tolist()
names = ["_local_scalar_dense", "_to_copy", "index", "nonzero", "copy_", "_to_copy"]
assert sim.waits == [f"aten::{name}" for name in names]
assert simulated_device() is sim

with pytest.raises(NotImplementedError, match="unsqueeze_ changes a tensor's shape in place"):
    x.unsqueeze_(0)
""")


def test_an_index_does_not_leave_its_device() -> None:
    """As on CUDA: one on the CPU may index a tensor of a device, and one of a device no tensor that is elsewhere."""
    run("""
host, x, y = torch.arange(3.0), torch.arange(3.0, device="sim:0"), torch.arange(3.0, device="sim:1")
picks, mask = torch.tensor([2, 0]), torch.tensor([True, False, True])
for index, picked in ((picks, [2.0, 0.0]), (mask, [0.0, 2.0])):
    assert host[index].tolist() == x[index].tolist() == x[index.to("sim:0")].tolist() == picked
    for tensor, device in ((host, "cpu"), (y, "sim:1")):
        told = f"should be either on cpu or on the same device as the indexed tensor .{device}."
        with pytest.raises(RuntimeError, match=told):
            tensor[index.to("sim:0")]
        with pytest.raises(RuntimeError, match=told):
            tensor[index.to("sim:0")] = 1.0
assert host.tolist() == y.tolist() == [0.0, 1.0, 2.0]
assert float(host[torch.tensor(2, device="sim:0")]) == 2.0

from hypothesis import strategies as st
from torchmetrics import Metric

class Weighted(Metric):
    def __init__(self, moved):
        super().__init__()
        self.add_state("total", torch.tensor(0.0), dist_reduce_fx="sum")
        self.moved, self.weights = moved, torch.arange(3.0)

    def update(self, labels):
        weights = self.weights.to(labels.device) if self.moved else self.weights
        self.total += weights[labels].sum().to(self.total.device)

    def compute(self):
        return self.total

labels = st.lists(st.tuples(tensors(3, torch.int64, max_value=2)), min_size=1, max_size=2)
check_metric(lambda: Weighted(True), labels, laws=["device"], examples=3)
with pytest.raises(LawViolation, match="on sim:1 it raises RuntimeError: indices should be either on cpu or on the"):
    check_metric(lambda: Weighted(False), labels, laws=["device"], examples=3)
""")


def test_copies_from_the_host_wait_unless_they_are_told_not_to() -> None:
    """As measured on an H100 with torch 2.11, behind a kernel of 30 ms; the error says what to write."""
    run("""
import re
d = torch.device("sim:0")
host, index, one, nb = torch.ones(6), torch.tensor([0, 1]), torch.tensor(1.0), dict(non_blocking=True)
waiting = '''
    host.to(d)                              one.to(d)                       host.to(d, torch.float64)
    torch.tensor([1, 2], device=d)          torch.tensor(1.0, device=d)     torch.as_tensor([1, 2], device=d)
    x.new_tensor([1.0, 2.0])                x.copy_(host)                   x.copy_(one)
    x.__setitem__(0, one)                   x.__setitem__(slice(6), host)   x.__setitem__(x.long()[:2], one)
    x[index]                                x[[0, 1]]                       torch.where(x > 1, x, one)
    x.__setitem__([0, 1], 5.0)              x.__setitem__(index, 5.0)'''
running_on = '''
    host.to(d, **nb)                        one.to(d, **nb)                 host.to(d, torch.float64, **nb)
    x.copy_(host, **nb)                     x.copy_(host, True)             x.to("sim:1")
    torch.zeros(0).to(d)                    torch.tensor([], device=d)      torch.full((3,), 2.0, device=d)
    torch.arange(3, device=d)               x + one                         x.fill_(one)
    x.masked_fill(x > 1, one)               x[index.to(d, **nb)]            x.__setitem__(x > 1, 5.0)
    torch.where(x > 1, x, 0.0)              x.to(torch.float64)             x.__setitem__(slice(2), 5.0)'''
for forms, number in ((waiting, 1), (running_on, 0)):
    for form in filter(None, re.split(r"\\s{2,}", forms)):
        x = torch.arange(6.0).to(d)
        sim.waits.clear()
        eval(form)
        assert len(sim.waits) == number, (form, sim.waits)

x = torch.arange(6.0).to(d)
copies, mixes = "copies from the host.*; pass non_blocking=True", r"bring it with \\.to\\(device, non_blocking=True\\)"
for said, form in ((copies, lambda: host.to(d)), (copies, lambda: x.copy_(host)),
                   (mixes, lambda: x[index]), (mixes, lambda: torch.where(x > 1, x, one))):
    with forbid_host_sync(), pytest.raises(HostSync, match=said):
        form()
with forbid_host_sync():
    host.to(d, **nb)
    x.copy_(host, **nb)
    x[index.to(d, **nb)]
    torch.where(x > 1, x, one.to(d, **nb))
""")


def test_a_metric_that_copies_in_each_update_is_refuted() -> None:
    """By the law about waits, of a metric and of a reduction; not where the copy does not block."""
    run("""
from hypothesis import strategies as st
from torchmetrics import Metric
from lwcallbacks.reductions import ExactSum

class Weighted(Metric):
    def __init__(self, **how):
        super().__init__()
        self.add_state("total", torch.tensor(0.0), dist_reduce_fx="sum")
        self.weights, self.how = torch.arange(3.0), how

    def update(self, x):
        self.total += (x * self.weights.to(x.device, **self.how)).sum()

    def compute(self):
        return self.total

class Homesick(Weighted):
    def update(self, x):
        self.total += (x * self.weights).sum()

class Weighs(ExactSum):
    blocks = True

    def lift(self, values, *, valid=None):
        return super().lift(values * torch.arange(3.0).to(values.device, non_blocking=not self.blocks), valid=valid)

class Runs(Weighs):
    blocks = False

batches = st.lists(st.tuples(floats32(3, nan=False)), min_size=1, max_size=2)
for metric, reduction in ((lambda: Weighted(non_blocking=True), Runs()), (Homesick, Runs()), (Weighted, Weighs())):
    tries = (lambda: check_metric(metric, batches, laws=["no_host_wait"], examples=5),
             lambda: check_reduction(reduction, st.tuples(floats32(3)), laws=["no_host_wait"], examples=5))
    for check in tries:
        if metric is not Weighted:
            check()  # what cannot run on a device is found by the law "device"
            continue
        with pytest.raises(LawViolation, match=r"no_host_wait is broken(.|\\n)*_to_copy waits for .*: it copies"):
            check()
""")


def test_metrics_and_cores_work_on_it() -> None:
    """A metric and a state move to their data; an epoch of batches on a device ends without a wait in any step."""
    run("""
from lwcallbacks import ReductionMetric, StateCore
from lwcallbacks.reductions import ConfusionCounts, ExactMean, TopK
from torchmetrics import MeanMetric
device = torch.device("sim:1")
core = StateCore({"loss": ExactMean(), "seen": ConfusionCounts(3), "worst": TopK(2), "mean": MeanMetric()})
metric = ReductionMetric(ConfusionCounts(3)).to(device)
preds, targets = torch.tensor([0, 2, 1]).to(device), torch.tensor([0, 1, 1]).to(device)
losses, ids = torch.tensor([1.0, 2.0, 6.0]).to(device), torch.arange(3).to(device)
core.step_end(mean=(losses,))
left_behind = StateCore({"loss": ExactMean()})
left_behind.step_end(loss=(torch.ones(3),))
sim.waits.clear()
left_behind.step_end(loss=(losses,))
for _ in range(2):
    core.step_end(loss=(losses,), seen=(preds, targets), worst=(losses, ids, losses))
    metric.update(preds, targets)
assert sim.waits == []
values = core.epoch_end()
assert (values["loss"], values["mean"].item(), values["worst"].ids.tolist()) == (3.0, 3.0, [2, 1])
assert left_behind.epoch_end() == {"loss": 2.0}
assert metric.compute().tolist() == values["seen"].tolist() == [[2, 0, 0], [0, 2, 2], [0, 0, 0]]
""")


def test_a_life_moves_to_it_and_back() -> None:
    """The metric and its batches, by the rule of the state machine."""
    run("""
from torchmetrics import SumMetric
life = metric_machine(SumMetric, value_batches())()
life.start(batches=[(torch.tensor([1.0]),)], look_each_time=False)
for to, device in (("second device", "sim"), ("half", "sim"), ("cpu", "cpu")):
    life.move(to=to)
    life.update(batch=0)
    assert life.metric.sum_value.device.type == device, to
life.compute()
""")


def test_every_reduction_has_the_same_bits_and_does_not_wait_on_a_second_device() -> None:
    """The laws that need one: for reductions, for metrics made of them; and it refutes what is bound to the CPU."""
    run("""
from hypothesis import strategies as st
from lwcallbacks import ReductionMetric
from support.lawful import EXAMPLES, LAWFUL
for name, (reduction, fields) in LAWFUL.items():
    laws = ["device", "no_host_wait"]
    for law, finding in examine_reduction(reduction, fields, laws=laws, examples=max(EXAMPLES // 3, 5)).items():
        assert finding.outcome == "kept", (law, name, finding.message)
    if name != "product":
        batches = st.lists(fields, min_size=1, max_size=3)
        finding = examine_metric(lambda: ReductionMetric(reduction), batches, laws=["device"], examples=3)["device"]
        assert finding.outcome == "kept", (name, finding.message)

from lwcallbacks.reductions import Extrema
class Homesick(Extrema):
    def lift(self, values, *, valid=None):
        return super().lift(values.cpu(), valid=None if valid is None else valid.cpu())
with pytest.raises(LawViolation, match="law device is broken(.|\\n)*the state's ends is on cpu, its data on sim:1"):
    check_reduction(Homesick(), st.tuples(floats32(3)), laws=["device"])

def unlike(method):
    def changed(self, *args, **options):
        state = getattr(Extrema, method)(self, *args, **options)
        return {name: tensor + (tensor.device.type == "sim") for name, tensor in state.items()}
    return type("Unlike", (Extrema,), {method: changed})()
for method, told in (("lift", "on sim:1"), ("merge", "on sim:1"), ("accumulate", "accumulated on sim:1")):
    with pytest.raises(LawViolation, match=f"law device is broken(.|\\n)*  found: {told}, and "):
        check_reduction(unlike(method), st.tuples(floats32(3)), laws=["device"])

from torchmetrics import Metric
class Constant(Metric):
    def __init__(self):
        super().__init__()
        self.add_state("total", torch.tensor(0.0), dist_reduce_fx="sum")
        self.weights = torch.arange(3.0)
    def update(self, x):
        self.total += (x * self.weights).sum()
    def compute(self):
        return self.total
with pytest.raises(LawViolation, match="law device is broken(.|\\n)*Encountered different devices"):
    check_metric(Constant, st.lists(st.tuples(floats32(3)), min_size=1), laws=["device"])

from support.wrong_metrics import Mean, NUMBERS, ResetByHand
with pytest.raises(LawViolation, match="after reset ResetByHand.(number|total) is on cpu where it was on sim:1"):
    check_metric(ResetByHand, st.just([(torch.ones(2),)]), laws=["reset_is_fresh"], examples=1)
check_metric(Mean, NUMBERS, laws=["reset_is_fresh"], examples=5)

class Twos(Metric):
    def __init__(self):
        super().__init__()
        self.add_state("totals", torch.zeros(2), dist_reduce_fx="sum")
    def update(self, x):
        self.totals += x
    def compute(self):
        return self.totals
finding = examine_metric(Twos, st.just([(torch.ones(2),)]), laws=["reset_is_fresh"], examples=1)["reset_is_fresh"]
assert finding.outcome == "kept"  # and not left out, as where its data stays behind
""")
