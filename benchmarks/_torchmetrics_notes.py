"""What reading torchmetrics' code and repeating examples by hand told about the findings of `torchmetrics_report.py`.

Written for torchmetrics 1.9.0. A finding that none of these fits is reported without a cause.
"""

import re

from _torchmetrics_kinds import KINDS

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


_CAUSES = {
    "reference .*AdjustedMutualInfoScore": "Where each sample is a cluster of its own this is 0 by 0; scikit-learn "
    "answers 1, and torchmetrics 0.",
    "reset_is_fresh .*RootMeanSquaredErrorUsingSlidingWindow": "The map is a plain attribute, which `reset` leaves.",
}

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


def cause_of(law: str, metric: str, message: str, how: str) -> str:
    """Why a violation is one, in words; empty where nobody found out."""
    for kind in KINDS:
        if kind.fits(law, metric, message, how):
            return kind.title
    return next((words for pattern, words in _CAUSES.items() if re.search(pattern, f"{law} {metric}")), "")


def no_violation(law: str, metric: str, message: str) -> str:
    """Why a broken law says nothing about the metric: a limit of the simulated device. Empty where it does."""
    if law != "device":
        return ""
    return next((why for pattern, why in _SIMULATED if re.search(pattern, f"{metric} {message}")), "")


def not_examined(metric: str) -> str:
    """Why a class is left out although its constructor would not tell; empty where it is not."""
    return _NOT_EXAMINED.get(metric, "")
