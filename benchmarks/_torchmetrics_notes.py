"""What reading torchmetrics' code and repeating examples by hand told about the findings of `torchmetrics_report.py`.

Written for torchmetrics 1.9.0. A finding that none of these fits is reported without a cause.
"""

import re
from typing import NamedTuple

LAW_NOTES = {
    "empty_process": (
        "Real processes come into this state when a data set has fewer batches than there are processes, or when a "
        "metric is updated in some batches only."
    ),
    "no_host_wait": (
        "`update` asks for a value, or for a shape that depends on the data, or copies from the host, so Python waits "
        "until a GPU has caught up. It costs time and changes no value. Most of these are the validation of arguments, "
        "which `validate_args=False` turns off in the classification package; here it is on, as by default. The first "
        "wait found is named; there may be more."
    ),
}


class Cause(NamedTuple):
    """Patterns, searched in the law, the metric's name and the kit's message; and what they have in common."""

    laws: str
    metric: str
    message: str
    words: str


_CAUSES = [
    Cause("state_dict", r"Running", ".", "The place in the window is a plain attribute, and in no checkpoint."),
    Cause(
        "forward_accumulates",
        r"BootStrapper",
        ".",
        "`forward` resets the metrics inside and does not bring their states back: after `forward` the value is that "
        "of the last batch alone. Repeated by hand with `sampling_strategy='multinomial'` and constant batches, where "
        "chance has no part: errors of 1, 1 in one batch and 0, 0 in the next give 0 and not 0.5.",
    ),
    Cause(
        "forward_accumulates",
        r"MinMaxMetric",
        ".",
        "`forward` resets the metric inside and does not bring its state back: after `forward` the value is that "
        "of the last batch alone. Repeated by hand: a right and a wrong prediction, one a batch, give `raw` 0.0 "
        "and not 0.5.",
    ),
    Cause(
        "reset|state_dict",
        r"MinMaxMetric",
        ".",
        "The extremes are plain attributes and no states: `reset` leaves them, although its docstring says "
        "otherwise, and no checkpoint holds them.",
    ),
    Cause(
        "empty_process|state_dict",
        r"RootMeanSquaredErrorUsingSlidingWindow",
        "AssertionError",
        "`compute` needs an attribute that the first `update` makes and that is no state: a process without data, "
        "and a metric loaded from a checkpoint, raise a bare AssertionError.",
    ),
    Cause(
        "shards",
        r"ExtendedEditDistance",
        "your training (hangs|aborts)",
        "The list state holds tensors of no dimension: a process with one sentence gathers that, one with more "
        "gathers their concatenation, of one dimension.",
    ),
    Cause(
        "order|merge_state",
        r"aggregation\.CatMetric",
        ".",
        "By design in part: the value is all values in order of arrival. `merge_state` puts the other metric's "
        "values before its own.",
    ),
    Cause(
        "shards|empty_process",
        r"retrieval\.|VisualInformationFidelity|LipVertexError|ROUGEScore",
        "your training (hangs|aborts)",
        "The states are lists with `dist_reduce_fx=None`, gathered one element at a time: one collective for each "
        "batch (ROUGEScore: each sentence) that a process saw. Processes with different numbers of batches ask for "
        "different numbers of collectives. Repeated with two real gloo processes: RetrievalMAP and "
        "VisualInformationFidelity, two batches beside one, end with a connection error on a process.",
    ),
    Cause(
        "empty_process",
        ".",
        "your training (hangs|aborts)",
        "A list state without data is sent as an empty float tensor of one dimension (`Metric._sync_dist`), "
        "whatever the others hold: labels of int64, or scores of two dimensions. Repeated with two real gloo "
        "processes: BinaryAUROC and "
        'MulticlassAUROC abort ("Received data size doesn\'t match expected size"). With floats of one '
        "dimension it works.",
    ),
    Cause(
        "shards",
        "NormalizedRootMeanSquaredError",
        "IndexError",
        "Raises on three processes and more: the loop that joins the processes' statistics overwrites what it "
        "reads from. Repeated with three real gloo processes.",
    ),
    Cause(
        "batch_size|shards|order",
        r"BinaryFairness|BinaryGroupStatRates",
        ".",
        "In a batch that lacks a group the next group's samples are counted as that group's: `update` numbers the "
        "groups that it finds. Repeated by hand: group 0 and group 1 in one batch give both groups a rate, in two "
        "batches group 1 is NaN and group 0 has its samples.",
    ),
    Cause(
        "order|merge_state|shards|batch_size",
        r"retrieval\.",
        ".",
        "Documents of a query with equal scores are ranked in order of arrival. Repeated by hand: scores (0.5, "
        "0.5) with relevance (0, 1) give a RetrievalMAP of 0.5, and in the other order 1.0. Without ties this does "
        "not happen.",
    ),
]

_SIMULATED = [
    (r"sparse|SparseCPU", "the simulated device has no sparse tensors"),
    (r"func != nullptr", "the simulated device cannot run `torch.tensor` of a list of tensors"),
    (r"SignalDistortionRatio[^|]*on sim", "the simulated device loses the lazy conjugate of a complex tensor"),
    (r"PanopticQuality[^|]*different devices", "the simulated device puts what `Tensor.new` makes on its device 0"),
]

_NOT_EXAMINED = {
    "image.DeepImageStructureAndTextureSimilarity": (
        "its first update raises ModuleNotFoundError: DISTS requires torchvision (and would download the weights "
        "of a VGG network)"
    ),
    "wrappers.MetricInputTransformer": "the base of LambdaInputTransformer and BinaryTargetTransformer, which are here",
    "image.MemorizationInformedFrechetInceptionDistance": (
        "needs a feature network (a download by default), and no batch alone has a value, since an update is of "
        "real or of generated pictures"
    ),
    "wrappers.FeatureShare": "needs metrics that share a feature network (a download by default)",
    "wrappers.MetricTracker": "keeps a metric for each epoch, begun by `increment()`: no metric of one epoch",
}


class Kind(NamedTuple):
    """A kind of fault, repeated by hand: the first that fits names the cause of a violation.

    Attributes:
        sort: "value" (silently wrong) or "crash".
        laws, metric, message: patterns: of the law, the row's name, the kit's message.
        title: what a user sees, in one sentence.
        words: why, and how it was checked.
    """

    sort: str
    laws: str
    metric: str
    message: str
    title: str
    words: str

    def fits(self, law: str, metric: str, message: str, how: str) -> bool:
        """Whether a violation is one of this kind."""
        crash = how in ("exception", "hang", "abort")
        return (
            crash is (self.sort == "crash")
            and re.search(self.laws, law) is not None
            and re.search(self.metric, metric) is not None
            and re.search(self.message, message) is not None
        )


KINDS: list[Kind] = []


def cause_of(law: str, metric: str, message: str, how: str) -> str:
    """Why a violation is one, in words; empty where nobody found out."""
    for kind in KINDS:
        if kind.fits(law, metric, message, how):
            return kind.title
    for cause in _CAUSES:
        if re.search(cause.laws, law) and re.search(cause.metric, metric) and re.search(cause.message, message):
            return cause.words
    return ""


def no_violation(law: str, metric: str, message: str) -> str:
    """Why a broken law says nothing about the metric: a limit of the simulated device. Empty where it does."""
    if law != "device":
        return ""
    return next((why for pattern, why in _SIMULATED if re.search(pattern, f"{metric} {message}")), "")


def not_examined(metric: str) -> str:
    """Why a class is left out although its constructor would not tell; empty where it is not."""
    return _NOT_EXAMINED.get(metric, "")
