"""What a callback asks for: which fields of a batch, and what remembers them.

Need(ConfusionCounts(10), ("preds", "targets"))
Need(ExactMean(), ("loss",))
Need(RandomSample(32), ("ids", "inputs"), prepare=lambda ids, images: (ids, images[:, :3]))
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from torch import Tensor

from lwcallbacks.capture import Source
from lwcallbacks.state.core import Remembered
from lwcallbacks.state.members import stable

STAGES = ("train", "val", "test", "predict")
MADE = ("ids", "position")
"""Fields that are made and not found: see `Need.names`."""


@dataclass(frozen=True)
class Need:
    """What a callback wants remembered: a reduction or a metric, and the fields of a batch that update it.

    Args:
        entry: a reduction, or a torchmetrics metric.
        names: the fields, in the order in which `entry` takes them: "inputs", "preds", "targets", "loss", or any other
            field of the step's output or of the batch. "ids" is what tells samples apart, int64 [N]: what `source.ids`
            gives, or else the position in the data set, or else a hash of inputs and targets. "position" is the place
            in the data set, and an error where only the sampler knows it.
        source: where to find the fields.
        optional: those of them that may be missing.
        prepare: made of the fields before `entry` takes them, a function with a tuple as result. It may be a lambda. It
            gets None for one that may be missing, and is.
        owner: what keeps this need apart from others; None lets equal needs share one state.

    >>> from lwcallbacks.reductions import ExactMean
    >>> Need(ExactMean(), ("loss",)) == Need(ExactMean(), ("loss",))
    True
    """

    entry: Remembered
    names: tuple[str, ...]
    source: Source = field(default_factory=Source)
    optional: frozenset[str] = frozenset()
    prepare: Callable[..., tuple[Tensor, ...]] | None = None
    owner: Hashable = None

    @property
    def key(self) -> Hashable:
        """Equal for needs that share one state."""
        # The hash of a torchmetrics.Metric changes with its state, so an owned need goes by its owner alone.
        shared = (self.entry, self.names, self.source, self.optional, self.prepare)
        return shared if self.owner is None else self.owner

    @property
    def text(self) -> str | None:
        """What it is in words, equal on all processes; None for one that has an owner."""
        if self.owner is not None:
            return None
        return f"{stable(self.entry)} of {self.names} from {stable(self.source)} by {stable(self.prepare)}"

    @property
    def chooses(self) -> bool:
        """Whether it tells samples apart."""
        return any(name in MADE for name in self.names)
