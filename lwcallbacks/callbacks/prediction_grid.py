"""PredictionGrid: samples with what was predicted and what is true, wrong ones marked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from lwcallbacks.callbacks.base import Entries, check_ignore_index, check_overhead, plain
from lwcallbacks.callbacks.history import History
from lwcallbacks.callbacks.names import class_names_of
from lwcallbacks.callbacks.need import Need
from lwcallbacks.callbacks.sample import check_number, warn_unnamed
from lwcallbacks.callbacks.select import STAYING, WORDS, Select, check_select, meant, select_needs
from lwcallbacks.callbacks.shown import Sample, names_of, shown, table_of
from lwcallbacks.callbacks.stateful import StateCallback
from lwcallbacks.capture import Extract
from lwcallbacks.labels import given, is_one_score, one_score, several_scores
from lwcallbacks.media import Image, blank, framed, to_pixels
from lwcallbacks.media.colours import VERMILION
from lwcallbacks.media.pixels import check_statistics
from lwcallbacks.reductions import Chosen, ScoreRange
from lwcallbacks.reductions.score_range import check_scores

WRONG, RIGHT = VERMILION, (200, 200, 200)  # which those see apart who see no red or no green


class PredictionGrid(StateCallback):
    """Show some samples of a stage with predicted and true label: any that come first, the hardest, the wrong ones ...

    A wrong prediction has an orange frame, a right one a grey one. One of a score that is NaN, or no probability where
    it should be one, is shown as "?". Where the target does not count, as ``ignore_index`` or one below 0, nothing is
    right or wrong, and there is no loss. Which samples are shown depends on all samples of the epoch and on ``seed``,
    not on how they are batched, ordered or split over processes; of equal ones the smaller id goes first.
    ``results["val"]`` is the `Chosen`, with inputs, preds and targets as payload; that is on process 0 only. Where
    inputs are no images, as of texts and tables of numbers, the table is shown alone.

    ``select`` says which:

    - ``"first"``: the first of the data set, which a loader tells that does not shuffle; with another it is an error at
      the first batch.
    - ``"random"``: drawn by ``seed``.
    - ``"hardest"`` and ``"easiest"``: those of the largest or smallest cross-entropy; of several labels the mean of
      theirs counts.
    - ``"wrong"``: drawn by ``seed`` among those that are predicted wrong. Where there are fewer than ``num_samples``,
      these are all, and the captions say so.
    - ``"least_confident"``: those of the smallest confidence; in a set of labels the least sure one counts.
    - ``"per_class"``: drawn by ``seed``, of each true class as many as there is place for.
    - a function of outputs and batch, or its name ``"package.module.f"``: those of the largest score, of which it gives
      one for each sample [N].

    ``"hardest"``, ``"easiest"`` and ``"least_confident"`` need scores, and are an error at the first batch where
    preds are labels. By ``"first"``, ``"random"`` and ``"per_class"`` the same samples are shown in every epoch, if
    they are told apart by position, by ``ids`` or by inputs that stay the same; the table then has what was predicted
    in the last 50 epochs, also after a run was resumed.

    With scores the table holds the confidence, for a set of labels that in its least sure one; of several scores [N, C]
    it is their softmax, unless they are probabilities: all in [0, 1], or about, with rows of sum 1. For the order of
    several scores, too, ``logits`` says what they are.

    No more samples are kept than are shown; twice as many where ``logits`` is None and the order depends on it, as that
    of hardness, confidence and "wrong" does; and twice as many where positions may turn out to be wrong.

    Args:
        num_samples: images in the grid; W&B takes at most 108 under one key.
        class_names: names by class index, a list or a dict; the indices if left out.
        select: which samples.
        seed: another seed, another draw.
        frame: whether images have their frame of two pixels.
        task: "multiclass" for one label a sample (also of two classes); "binary" for one score a sample, which
            "multiclass" takes, too; or "multilabel" for a set of labels.
        threshold: where there is one score for each label: a probability above it is a 1.
        logits: whether such scores are logits, of which sigmoid(x) > threshold is a 1. None decides by all scores of
            the epoch together: in [0, 1] they are probabilities, any below -0.5 or above 1.5 makes them logits, and
            between the two a warning asks for this argument.
        ignore_index: a target that does not count.
        mean: the mean that the data was normalised with, one number or one per channel; undone for the picture.
        std: the standard deviation that goes with it.
        inputs: where to find the images, float in [0, 1] or uint8 [N, 1 or 3, H, W].
        preds: where to find the predictions: integer labels [N] or float scores [N, C]; binary [N] or [N, 1];
            multilabel 0 or 1, or float scores, [N, L].
        targets: where to find the true labels [N] or [N, 1]; multilabel 0 or 1 [N, L]; of any dtype. While predicting
            they may be missing.
        ids: what tells samples apart, integers [N], where rows of a batch are not the samples that its loader drew.
        forward: the submodule whose calls return the predictions, as "net" where the step calls `self.net(x)`; the
            module itself if left out, by `self(x)` or `self.forward(x)`.
        name: the last part of the keys. Two of a class in one Trainer need two names.
        stages: out of "train", "val", "test" and "predict".
        every_n_epochs: publish at every n-th training epoch; numbers and `results` come at each.
        max_overhead: the share of the run that all callbacks of the Trainer may cost together, as 0.02 for 2 %. Above
            it, pictures and histograms come less often; `results` and metrics are never left out.
        on_error: "warn" once and go on, or "raise", when something fails while training runs.

    Raises:
        ValueError: an argument is not as said here; or, at the first batch, a field was not found or does not have this
            shape.

    ================================ =======================================================
    Key                              Logged data
    ================================ =======================================================
    ``{stage}/{name}``               images, each with the caption "Pred:3" and, in a second line, "Label:5"
                                     (multilabel: "Pred:1,3")
    ``{stage}/{name}_table``         table: image, id, score (what a function as ``select`` gave), pred, target,
                                     confidence, loss, correct, top-3, history, as far as they are known
    ================================ =======================================================

    >>> PredictionGrid(32, ["cat", "dog"], select="hardest").prefixes("val")
    {'val/predictions'}
    >>> PredictionGrid(0)
    Traceback (most recent call last):
    ValueError: PredictionGrid: num_samples=0, expected an int of at least 1
    """

    def __init__(
        self,
        num_samples: int = 32,
        class_names: Sequence[str] | None = None,
        *,
        select: Select = "random",
        seed: int = 0,
        frame: bool = True,
        task: Literal["multiclass", "binary", "multilabel"] = "multiclass",
        threshold: float = 0.5,
        logits: bool | None = None,
        ignore_index: int | None = None,
        mean: Sequence[float] | float | None = None,
        std: Sequence[float] | float | None = None,
        inputs: Extract | None = None,
        preds: Extract | None = None,
        targets: Extract | None = None,
        ids: Extract | None = None,
        forward: str | None = None,
        name: str = "predictions",
        stages: Sequence[str] = ("val", "test"),
        every_n_epochs: int = 1,
        max_overhead: float | None = None,
        on_error: Literal["warn", "raise"] = "warn",
    ) -> None:
        super().__init__(name=name, stages=stages, every_n_epochs=every_n_epochs, on_error=on_error)
        self.max_overhead = check_overhead("PredictionGrid", max_overhead)
        check_number("PredictionGrid", num_samples)
        check_scores("PredictionGrid", task, threshold, logits)
        check_select("PredictionGrid", select, seed)
        if select == "per_class" and task == "multilabel":
            told = "a sample with several labels is of no one class, expected select='random'"
            raise ValueError(f"PredictionGrid: select='per_class' with task='multilabel': {told}")
        self.num_samples = num_samples
        self.select = select
        self.frame = frame
        self.task = task
        self.threshold = threshold
        self.logits = logits
        self.ignore_index = check_ignore_index("PredictionGrid", ignore_index)
        self.class_names = class_names_of("PredictionGrid", class_names)
        self.seed = seed
        check_statistics("PredictionGrid", mean, std)
        self.mean = plain(mean)
        self.std = plain(std)
        self.inputs = inputs
        self.preds = preds
        self.targets = targets
        self.ids = ids
        self.forward = forward
        self._said: set[str] = set()
        self._history = History()

    def remembered(self, stage: str) -> Mapping[str, Need]:
        # What is predicted may have no target yet.
        optional = frozenset({"inputs", "targets"} if stage == "predict" else {"inputs"})
        needs = select_needs(
            self.select,
            self.num_samples,
            seed=self.seed,
            task=self.task,
            threshold=self.threshold,
            logits=self.logits,
            source=self.source,
            ignore_index=self.ignore_index,
            optional=optional,
        )
        if self.logits is not None:
            return needs
        if self.task == "multilabel":
            return {**needs, "range": Need(ScoreRange(), ("preds",), self.source)}
        # Only one score a sample is read in one of two ways. Of several, the largest wins, and no one need be asked.
        needs["range"] = Need(ScoreRange(), ("preds",), self.source, prepare=one_score)
        if self.task == "multiclass":
            needs["spread"] = Need(ScoreRange(asks=False), ("preds",), self.source, prepare=several_scores)
        return needs

    def begin(self) -> None:
        super().begin()
        self._history = History()

    def state_dict(self) -> dict[str, Any]:
        history = self._history.state_dict()
        return {**super().state_dict(), **({"history": history} if history else {})}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        rest = dict(state_dict)
        self._history.load_state_dict(rest.pop("history", {}))
        super().load_state_dict(rest)

    def result(self, values: Mapping[str, Any]) -> Chosen:
        seen = [label for sample in self._shown(values) for label in (*sample.pred, *(sample.truth or ()))]
        known = [label for label in seen if label is not None]
        warn_unnamed(f"PredictionGrid({self.name!r})", self.class_names, known, self._said, True, self.ignore_index)
        return self._chosen(values)

    def of_epoch(self, place: str, values: Mapping[str, Any]) -> Mapping[str, Any]:
        samples = self._shown(values)
        if self.select not in STAYING or not samples:
            return {}
        self._history.add(place, [sample.id for sample in samples], [sample.pred for sample in samples])
        return {"history": self._history.of(place)}

    def _chosen(self, values: Mapping[str, Any]) -> Chosen:
        name, _ = meant(values, self.logits) or ("sample", False)
        chosen: Chosen = values[name]
        return chosen

    def _shown(self, values: Mapping[str, Any]) -> list[Sample]:
        chosen = self._chosen(values)
        if not chosen.payload:
            return []
        preds = chosen.payload[1]
        several = preds.is_floating_point() and not is_one_score(preds) and self.task == "multiclass"
        kind = given(self.logits) or values["spread" if several else "range"]
        return shown(chosen, kind, self.task, self.threshold, self.ignore_index)

    def entries(self, key: str, values: Mapping[str, Any]) -> Entries:
        samples, inputs = self._shown(values), self._chosen(values).payload[0]
        histories = values.get("history")
        strips = None if histories is None else [histories[sample.id] for sample in samples]
        # Of a word, the order is that of the loss, the confidence or the ids, which the table has.
        scores = None if self.select in WORDS else self._chosen(values).scores
        if inputs.ndim < 3:
            if self.inputs is None and not self._codes.get("inputs"):
                self.note("no inputs were found, so samples are shown without images. Say where images are: inputs=...")
            return {f"{key}_table": table_of(samples, None, self._name, strips, scores)}
        stack = to_pixels(inputs, self.mean, self.std, self.note_of_images) if samples else ()
        images = [Image(pixels) for pixels in stack]
        tiles = [
            Image(self._framed(image, sample), self._caption(sample, i, len(samples)))
            for i, (image, sample) in enumerate(zip(images, samples, strict=True), start=1)
        ]
        grid = tiles or [blank(_NONE if self.select == "wrong" else "No sample")]
        return {key: grid, f"{key}_table": table_of(samples, images, self._name, strips, scores)}

    def _framed(self, image: Image, sample: Sample) -> Any:
        return framed(image.pixels, WRONG if sample.correct is False else RIGHT) if self.frame else image.pixels

    def _caption(self, sample: Sample, number: int, of: int) -> str:
        lines = [f"Pred:{names_of(sample.pred, self._name)}"]
        if sample.truth is not None:
            lines.append(f"Label:{names_of(sample.truth, self._name)}")
        if self.select == "wrong" and of < self.num_samples:
            lines.append(f"{number} of all {of} wrong")
        return "\n".join(lines)

    def _name(self, label: int | None) -> str:
        names = self.class_names or ()
        return "?" if label is None else names[label] if 0 <= label < len(names) else str(label)


_NONE = "No sample was predicted wrong"
