"""Kinds of faults in torchmetrics 1.9.0 and torch_uncertainty, each with a program that was run; the worst first."""

import re
from typing import NamedTuple


class Kind(NamedTuple):
    """A kind of fault: the first that fits names the cause of a violation.

    Attributes:
        sort: "value" (silently wrong) or "crash".
        laws, metric, message: patterns: of the law, the row's name, the kit's message.
        title: what a user sees, in one sentence.
        words: why, and how it was checked.
        program: one that is shorter than the one that was found.
    """

    sort: str
    laws: str
    metric: str
    message: str
    title: str
    words: str
    program: str = ""

    def fits(self, law: str, metric: str, message: str, how: str) -> bool:
        """Whether a violation is one of this kind."""
        crash = how in ("exception", "hang", "abort") or re.search(r"compute raises \w+", message) is not None
        return (
            crash is (self.sort == "crash")
            and re.search(self.laws, law) is not None
            and re.search(self.metric, metric) is not None
            and re.search(self.message, message) is not None
        )


KINDS = [
    Kind(
        "crash",
        "empty_process",
        r"^(?!.*(samplewise|ExtendedEditDistance|retrieval))",
        r"process \d gathers float32 with 1 dimensions",
        "With fewer batches than processes the training aborts at the end of the epoch.",
        "A list state without data is sent as an empty float tensor of one dimension (`Metric._sync_dist`), whatever "
        "the others hold: labels of int64, or scores of two dimensions. The sizes in bytes do not match, and gloo "
        "ends the process. With floats of one dimension, or with `thresholds=` given, it works.",
    ),
    Kind(
        "crash",
        "empty_process",
        r"retrieval\.|VisualInformationFidelity|LipVertexError|ROUGEScore",
        "No samples to concatenate",
        "A process without data raises ValueError, and the others wait for it.",
        "`dim_zero_cat` of an empty list raises while the others are in a collective. They wait until their time is "
        "over: half an hour by default.",
    ),
    Kind(
        "crash",
        "shards|empty_process",
        r"retrieval\.|VisualInformationFidelity|LipVertexError|ROUGEScore",
        r"training (hangs|aborts)",
        "On processes with different numbers of batches the training hangs or aborts.",
        "The states are lists with `dist_reduce_fx=None`, gathered one element at a time: one collective for each "
        "batch (ROUGEScore: each sentence) that a process saw. Processes with different numbers of batches ask for "
        "different numbers of collectives.",
    ),
    Kind(
        "value",
        "order|merge_state|shards",
        "AURC|AUGRC|CovAt|RiskAt|AUSE",
        ".",
        "Where scores are equal, the value depends on which sample came first.",
        "Samples are sorted by score and errors added up in that order, and there is no rule for equal ones. By hand: "
        "of six samples with a score of 0.9, of which two are errors, AURC is 0.33 in one order and 0.65 in another; "
        "with six scores it is 0.33 in both.",
    ),
    Kind(
        "value",
        "stale_value",
        ".",
        ".",
        "After a checkpoint is loaded, or another metric is merged, `compute` returns the value from before.",
        "`compute` remembers its value, and only `update`, `forward` and `reset` make it forget. By hand: a SumMetric "
        "of 1 that was asked for its value and then loads a state of 5 reports 1; one that merges 5 reports 1 and not "
        "6. Without a `compute` before, it is right. Every class does this, since the base class does.",
    ),
    Kind(
        "value",
        "forward_accumulates|resume_with_forward|pickle_mid_epoch|sync_on_step",
        "MinMaxMetric",
        ".",
        "With step values logged, MinMaxMetric reports the last batch in place of the epoch.",
        "`forward` resets the metric inside and does not bring its state back. By hand: a right and a wrong "
        "prediction, one a batch, give `raw` 0.0 and not 0.5.",
        """import torch, torchmetrics
from torchmetrics.classification import BinaryAccuracy

right, wrong = (torch.tensor([1]), torch.tensor([1])), (torch.tensor([1]), torch.tensor([0]))
metric = torchmetrics.MinMaxMetric(BinaryAccuracy())
metric(*right), metric(*wrong)
print(metric.compute()["raw"])
metric = torchmetrics.MinMaxMetric(BinaryAccuracy())
metric.update(*right), metric.update(*wrong)
print(metric.compute()["raw"])
""",
    ),
    Kind(
        "value",
        "forward_accumulates",
        "BootStrapper",
        ".",
        "With step values logged, BootStrapper reports the last batch in place of the epoch.",
        "`forward` resets the metrics inside and does not bring their states back. Here chance has no part: all "
        "errors of a batch are the same, and any sample of them has the same mean.",
        """import torch
from torchmetrics import BootStrapper, MeanSquaredError

ones, zeros = (torch.ones(2), torch.zeros(2)), (torch.zeros(2), torch.zeros(2))
metric = BootStrapper(MeanSquaredError(), num_bootstraps=3, sampling_strategy="multinomial")
metric(*ones), metric(*zeros)
print(metric.compute()["mean"])
metric = BootStrapper(MeanSquaredError(), num_bootstraps=3, sampling_strategy="multinomial")
metric.update(*ones), metric.update(*zeros)
print(metric.compute()["mean"])
""",
    ),
    Kind(
        "value",
        "batch_size|shards|order|empty_process|merge_state|step_value|merge_with_fresh",
        "BinaryFairness|BinaryGroupStatRates",
        ".",
        "In a batch that lacks a group, samples count as those of another group.",
        "`update` numbers the groups that it finds in the batch. By hand: group 0 and group 1 in one batch give both "
        "groups a rate; in two batches group 1 is NaN and group 0 has its samples.",
    ),
    Kind(
        "value",
        "order|batch_size|shards",
        "GeneralizedDiceScore",
        ".",
        "A picture's generalized Dice score depends on the other pictures of its batch.",
        "The weight of a class that is absent from a picture is taken from the greatest weights in the batch, and the "
        "places of the two are mixed up.",
        """import torch
from torchmetrics.segmentation import GeneralizedDiceScore

preds = torch.tensor([[[0, 0, 0, 1]], [[0, 1, 2, 2]]])
target = torch.tensor([[[0, 0, 0, 0]], [[0, 0, 2, 2]]])
metric = GeneralizedDiceScore(num_classes=3, input_format="index")
metric.update(preds, target)
print(metric.compute())
metric = GeneralizedDiceScore(num_classes=3, input_format="index")
metric.update(preds[:1], target[:1]), metric.update(preds[1:], target[1:])
print(metric.compute())
""",
    ),
    Kind(
        "value",
        "batch_size|shards",
        "MultilabelRankingLoss",
        ".",
        "A batch in which no sample can be ranked counts as one sample in MultilabelRankingLoss.",
        "Where all samples of a batch have all labels or none, `_multilabel_ranking_loss_update` says that there was 1 "
        "of them. By hand: two such samples and one of a loss of 0.5 give 0.167 in one batch, as scikit-learn has it, "
        "and 0.25 in batches of 2 and 1.",
        """from torch import tensor
from torchmetrics.classification import MultilabelRankingLoss

preds, target = tensor([[0.2, 0.8, 0.1], [0.1, 0.1, 0.7], [0.5, 0.8, 0.3]]), tensor([[0, 0, 0], [1, 1, 1], [1, 0, 0]])
metric = MultilabelRankingLoss(num_labels=3)
metric.update(preds[:2], target[:2])
metric.update(preds[2:], target[2:])
print(metric.compute())
whole = MultilabelRankingLoss(num_labels=3)
whole.update(preds, target)
print(whole.compute())
""",
    ),
    Kind(
        "value",
        "reference",
        "MultilabelRankingLoss",
        ".",
        "With equal scores MultilabelRankingLoss depends on the order of the labels.",
        "`argsort` puts equal scores into some order. By hand: three equal scores give a loss of 0, 0.5 or 1, by which "
        "of the three labels is true; scikit-learn counts a tie as wrong, and says 1.",
    ),
    Kind(
        "value",
        "reference",
        "AdjustedMutualInfoScore",
        ".",
        "AdjustedMutualInfoScore of two equal clusterings is 0 where all samples share a cluster, or none do.",
        "The adjusted score is 0 by 0 there. By hand: [0, 1] with [0, 1], and [0, 0, 0] with [0, 0, 0], give 0; "
        "scikit-learn says 1 for both, as for any two clusterings that are equal.",
    ),
    Kind(
        "value",
        "inputs_unchanged",
        r"nan_strategy=0\.0",
        ".",
        "With `nan_strategy=` a number, a metric writes that number into your batch.",
        "`_cast_and_nan_check_input` assigns to the tensor that it was given: the loss, or the next metric, sees 0 "
        "where the loader gave NaN.",
    ),
    Kind(
        "value",
        "merge_with_fresh|merge_state|merge_after_compute",
        "PeakSignalNoiseRatio",
        "nan",
        "Merged into a metric that was just made, PeakSignalNoiseRatio is NaN.",
        "`merge_state` weights the state `data_range`, which is reduced as a mean, by the number of updates of each "
        "and divides by something that is 0. By hand: 7.6 dB become NaN.",
        """import torch
from torchmetrics.image import PeakSignalNoiseRatio

other = PeakSignalNoiseRatio(data_range=1.0)
other.update(torch.zeros(1, 3, 4, 4), torch.full((1, 3, 4, 4), 0.1))
metric = PeakSignalNoiseRatio(data_range=1.0)
metric.merge_state(other)
print(metric.compute())
print(other.compute())
""",
    ),
    Kind(
        "value",
        "merge_with_fresh",
        "ExactMatch.*samplewise",
        "merged",
        "Merged into a metric that was just made, ExactMatch per sample is 0 for each sample.",
        "The state `total` is reduced as a mean, weighted by the number of updates of each; merged into one without "
        "any it is minus infinity. By hand: [1, 0] becomes [-0, -0].",
    ),
    Kind(
        "value",
        "state_dict|load_replaces|resume",
        "Running",
        ".",
        "A resumed run of a running mean or sum replaces the wrong values.",
        "The place in the window is a plain attribute, and in no checkpoint. By hand: RunningSum(window=2) that saw "
        "1, 2, 3 is worth 7 after a 4; loaded from a checkpoint before the 4 it is worth 6.",
    ),
    Kind(
        "value",
        "labels_in_range",
        ".",
        ".",
        "A label that is no class counts as a sample, and changes the value.",
        "The validation of arguments counts how many different labels there are, and does not look at which. A label "
        "of 3 beside 3 classes is a negative of each class.",
    ),
    Kind(
        "value",
        "merge_state|merge_with_fresh|merge_after_compute",
        "CatMetric|samplewise|reduction='none'|sentence_level",
        "merged",
        "`merge_state` puts the values of the other metric before its own.",
        "The values of a metric that keeps one for each sample no longer belong to the samples in the order in which "
        "they came. By hand: an accuracy of [1] that merges one of [0] reports [0, 1].",
    ),
    Kind(
        "value",
        "checkpoint_unchanged",
        ".",
        ".",
        "Updating a metric changes the checkpoint that it was loaded from.",
        "`load_state_dict` keeps the tensors of the dict, and `update` adds to them in place. By hand: a state of 5, "
        "loaded and updated with 7, is 12 in the dict, and so in the next metric that loads it.",
    ),
    Kind(
        "value",
        "update_count",
        ".",
        ".",
        "A checkpoint forgets how many updates there were.",
        "`_update_count` is in no state dict: after a resume torchmetrics warns of a metric without data, and "
        "`merge_state` and `forward` weight means by it.",
    ),
    Kind(
        "value",
        "reset",
        "MinMaxMetric",
        ".",
        "MinMaxMetric's extremes survive `reset`.",
        "They are plain attributes and no states, although the docstring of `reset` says otherwise. By hand: 5, "
        "reset, 1 has a maximum of 5.",
    ),
    Kind(
        "value",
        "state_dict|load_replaces|resume",
        "MinMaxMetric",
        ".",
        "No checkpoint holds MinMaxMetric's extremes.",
        "They are plain attributes and no states: after a resume the minimum and maximum start again.",
        """from torchmetrics import MeanMetric, MinMaxMetric

saved, resumed = MinMaxMetric(MeanMetric()), MinMaxMetric(MeanMetric())
for part in (saved, saved._base_metric):
    part.persistent(True)
saved.update(5.0), saved.compute()
resumed.load_state_dict(saved.state_dict())
for metric in (resumed, saved):
    metric.update(1.0)
    print(metric.compute()["max"])
""",
    ),
    Kind(
        "value",
        "order|merge_state|shards|batch_size|merge_with_fresh|empty_process",
        r"retrieval\.",
        ".",
        "Documents with equal scores are ranked in the order in which they came.",
        "By hand: scores (0.5, 0.5) with relevance (0, 1) give a RetrievalMAP of 0.5, and in the other order 1.0. "
        "Without ties this does not happen.",
    ),
    Kind(
        "crash",
        "shards|empty_process",
        "samplewise",
        r"training (hangs|aborts)",
        "With `multidim_average='samplewise'` processes of one sample and of several abort each other.",
        "The state of one sample has no dimension, or is an integer 0 where there is none; those of several have one. "
        "The gathered sizes do not match.",
    ),
    Kind(
        "crash",
        "shards|empty_process",
        "sentence_level",
        "must be tuple of Tensors",
        "With `return_sentence_level_score=True` `compute` raises TypeError on two processes.",
        "The sync leaves one tensor in place of the list of them, and `compute` joins a list. CHRFScore, "
        "ExtendedEditDistance and TranslationEditRate.",
    ),
    Kind(
        "crash",
        "shards|empty_process",
        "ExactMatch.*samplewise",
        "could not infer output dtype",
        "With `multidim_average='samplewise'` ExactMatch raises RuntimeError on several processes.",
        "The state `total` becomes an integer with the first update, and is reduced as a mean, which there is none of "
        "for integers.",
    ),
    Kind(
        "crash",
        "empty_process|state_dict|load|merge|resume",
        "RootMeanSquaredErrorUsingSlidingWindow",
        "AssertionError",
        "RootMeanSquaredErrorUsingSlidingWindow raises AssertionError after a resume, and without data.",
        "`compute` needs an attribute that the first `update` makes and that is no state: a process without data, and "
        "a metric that was loaded from a checkpoint or merged, raise a bare AssertionError.",
    ),
    Kind(
        "crash",
        "shards",
        "NormalizedRootMeanSquaredError",
        "IndexError",
        "NormalizedRootMeanSquaredError raises IndexError on three processes and more.",
        "The loop that joins the statistics of the processes overwrites what it reads from.",
    ),
    Kind(
        "crash",
        "shards|empty_process",
        "ExtendedEditDistance|TranslationEditRate|CHRFScore",
        r"training (hangs|aborts)",
        "A process with one sentence and one with several abort each other.",
        "The list state holds tensors of no dimension: a process with one sentence gathers that, one with more "
        "gathers their concatenation, of one dimension.",
    ),
    Kind(
        "crash",
        "empty_process|shards",
        ".",
        r"training (hangs|aborts)",
        "Processes that hold tensors of other shapes or kinds abort each other.",
        "What a state holds before data differs from what it holds after it.",
    ),
]
