"""What kernels cost on one device, for `gpu.py`: milliseconds of variants in turns, by the device's own clock."""

import statistics
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torchmetrics.classification import MulticlassConfusionMatrix

import lwcallbacks as lw
from lwcallbacks.gradients.changes import Kept
from lwcallbacks.gradients.read import Row as Layer
from lwcallbacks.gradients.read import read
from lwcallbacks.gradients.sample import Samples
from lwcallbacks.reductions import ConfusionCounts, First, LogHistogram, RandomSample, Reduction, State

Row = tuple[str, dict[str, float]]
Variants = dict[str, Callable[[], object]]


def timed(variants: Variants, device: torch.device, turns: int, least: float = 2.0) -> dict[str, float]:
    """Milliseconds a call, the median over the turns; in its turn a variant is called for `least` milliseconds."""
    calls = {}
    for name, call in variants.items():
        for _ in range(3):
            call()  # what is made once is made now
        calls[name] = max(1, int(least / max(_milliseconds(call, device, 1), 1e-3)))
    times: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(turns):
        for name, call in variants.items():
            times[name].append(_milliseconds(call, device, calls[name]))
    return {name: statistics.median(of) for name, of in times.items()}


def _milliseconds(call: Callable[[], object], device: torch.device, number: int) -> float:
    if device.type != "cuda":
        start = time.perf_counter()
        for _ in range(number):
            call()
        return 1000 * (time.perf_counter() - start) / number
    start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize(device)
    start.record()
    for _ in range(number):
        call()
    stop.record()
    torch.cuda.synchronize(device)
    return start.elapsed_time(stop) / number


class Bottleneck(nn.Module):
    def __init__(self, inside: int, width: int, stride: int) -> None:
        super().__init__()
        outside = 4 * width
        self.inner = nn.Sequential(
            *convolution(inside, width, 1), nn.ReLU(), *convolution(width, width, 3, stride), nn.ReLU(),
            *convolution(width, outside, 1),
        )  # fmt: skip
        same = inside == outside and stride == 1
        self.beside = nn.Identity() if same else nn.Sequential(*convolution(inside, outside, 1, stride))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.inner(x) + self.beside(x))


def convolution(inside: int, outside: int, size: int, stride: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(inside, outside, size, stride, size // 2, bias=False), nn.BatchNorm2d(outside)]


def network() -> nn.Module:
    """ResNet-50's layout (He et al. 2015): 25.6 million values in 161 parameters."""
    layers: list[nn.Module] = [*convolution(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    inside = 64
    for number, width in ((3, 64), (4, 128), (6, 256), (3, 512)):
        for block in range(number):
            layers.append(Bottleneck(inside, width, 2 if block == 0 and width > 64 else 1))
            inside = 4 * width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inside, 1000))


def gradients(device: torch.device, turns: int, batch: int, size: int) -> Iterator[Row]:
    """What GradientHistogram does at a logged step: a sample of the parameters is kept before it, and bins, norms and
    changes are on their way to the host behind it."""
    module = network().to(device)
    named = dict(module.named_parameters())
    images, targets = (
        torch.rand(batch, 3, size, size, device=device),
        torch.zeros(batch, dtype=torch.int64, device=device),
    )

    def forward_backward() -> None:
        module.zero_grad()
        nn.functional.cross_entropy(module(images), targets).backward()

    forward_backward()
    histogram, samples = LogHistogram(), Samples()

    @torch.no_grad()
    def logged_step() -> None:
        kept = Kept(list(named.values()), samples)
        read([Layer(name, p) for name, p in named.items()], histogram, ["norms", "changes", "weights"], kept)

    found = timed(
        {
            "ours": logged_step,
            "forward and backward": forward_backward,
            "norms": lambda: torch._foreach_norm([p.grad for p in module.parameters()]),
        },
        device,
        turns,
    )
    yield f"gradients, by forward + backward of {batch}x3x{size}x{size}", _pair(found, "forward and backward")
    yield "gradients, by torch._foreach_norm", _pair(found, "norms")


def counts(device: torch.device, turns: int) -> Iterator[Row]:
    """An update of a confusion matrix, beside torchmetrics without its checks."""
    for classes in (10, 100, 1000):
        for number in (32, 1024, 65_536):
            targets = torch.randint(classes, (number,), device=device)
            fields = {"labels": torch.randint(classes, (number,), device=device)}
            if classes * number <= 10**7:
                fields["scores"] = torch.rand(number, classes, device=device)
            for kind, preds in fields.items():
                ours = lw.ReductionMetric(ConfusionCounts(classes)).to(device)
                peer = MulticlassConfusionMatrix(classes, validate_args=False).to(device)
                variants: Variants = {
                    "ours": lambda m=ours, p=preds, t=targets: m.update(p, t),
                    "peer": lambda m=peer, p=preds, t=targets: m.update(p, t),
                }
                yield f"counts, {kind}, {classes} classes x {number}", _pair(timed(variants, device, turns), "peer")


def choices(device: torch.device, turns: int, batch: int, size: int) -> Iterator[Row]:
    """Choosing 32 of all images: a batch that changes nothing, beside one copy of it."""
    images = torch.rand(batch, 3, size, size, device=device)
    for reduction in (First(32), RandomSample(32, seed=0)):
        best = _winning(reduction, device)
        state = reduction.lift(best, images[:1].expand(len(best), -1, -1, -1).contiguous())
        later = torch.arange(10**6, 10**6 + 10**4, device=device)
        losing = later[~torch.isin(later, reduction.value(reduction.lift(torch.cat([best, later]))).ids.to(device))]
        ids = losing[:batch].contiguous()

        def choose(reduction: Reduction = reduction, state: State = state, ids: Tensor = ids) -> State:
            return reduction.accumulate(dict(state), ids, images)

        assert choose()["id"].equal(state["id"])
        found = timed({"ours": choose, "peer": images.clone}, device, turns)
        yield (
            f"choices, {type(reduction).__name__}, a batch of {batch}x3x{size}x{size} that changes nothing",
            _pair(found, "peer"),
        )


def _winning(reduction: Reduction, device: torch.device) -> Tensor:
    """The 32 ids that win among the first million."""
    ids: Tensor = reduction.value(reduction.lift(torch.arange(10**6))).ids
    return ids.to(device)


def _pair(found: dict[str, float], peer: str) -> dict[str, float]:
    return {"ours": found["ours"], "peer": found[peer]}
