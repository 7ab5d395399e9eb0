"""What users write by mistake, the message that they get, and what it tells them to write: the table.

PYTHONPATH=.:tests python -m support.situations        # writes docs/messages.md
"""

from __future__ import annotations

import logging
import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from support.mistakes import MyLogger, N, Program, Tried, X, Y, fit, loader, resumed, tried, two_processes, validate

PAGE = Path(__file__).parents[2] / "docs" / "messages.md"


@dataclass(frozen=True)
class Situation:
    """A mistake.

    Attributes:
        title: what is wrong, for the page.
        wrong: the program's text.
        program: runs it.
        who, found, expected: what the message says, word by word.
        cure: finds in the message the words to write.
        right: the program's text with these words, as in `re.Match.expand`.
        gives: what comes of it then.
        theirs: a part of the message that is another package's, which may change.
    """

    title: str
    wrong: str
    program: Program
    who: str
    found: str
    expected: str
    cure: str
    right: str
    gives: Any = N
    theirs: str = ""

    def message(self, heard: Tried) -> str:
        """The message that is about the mistake: the first one."""
        assert heard.messages, f"nothing is said of {self.wrong}"
        return heard.messages[0]

    def cured(self, message: str) -> str:
        """The program as the message says to write it."""
        words = re.search(self.cure, message)
        assert words, f"{self.cure!r} does not find what to write in {message!r}"
        return words.expand(self.right)

    def section(self, message: str, is_error: bool) -> str:
        """Its part of the page."""
        shown = re.sub(self.theirs, "...", message) if self.theirs else message
        kind = "an error" if is_error else "a warning"
        return (
            f"## {self.title}\n\n```python\n{self.wrong}\n```\n\nis {kind}:\n\n```text\n{shown}\n```\n\nWrite\n\n"
            f"```python\n{self.cured(message)}\n```\n"
        )


CM = "ConfusionMatrix('val/confusion_matrix')"
ACC = "torchmetrics.classification.MulticlassAccuracy"


def score(scores: Tensor) -> dict[str, Tensor]:
    """One score a sample, between probabilities and logits."""
    return {"score": scores[:, 0] / 8 + 0.4, "truth": (scores[:, 0] > 0).long()}


def small(scores: Tensor) -> dict[str, Tensor]:
    """Logits of a network that has hardly learnt: all in [0, 1]."""
    return {"score": scores[:, 0] / 100 + 0.1, "truth": (scores[:, 0] > 0).long()}


def labels_of_tokens(scores: Tensor) -> dict[str, Tensor]:
    """Three labels a sample."""
    return {"labels": scores.argmax(1)[:, None, None].expand(-1, 3, 1), "truth": torch.zeros(len(scores), 3)}


SITUATIONS = [
    Situation(
        "A key with a slip", "lw.ConfusionMatrix(5, preds='logit')", validate(returns=lambda s: {"logits": s}),
        CM, "preds='logit' is no key of the step's output", "the step returned {'logits': float32[4, 5]}",
        r"did you mean ('logits')\?", r"lw.ConfusionMatrix(5, preds=\1)",
    ),
    Situation(
        "A function that needs what self(x) returned",
        "lw.ConfusionMatrix(5, preds=lambda outputs, batch: outputs['scores'])",
        validate(forward=lambda s: {"scores": s}), CM, "raised TypeError: 'NoneType' object is not subscriptable",
        "what self(x) returned is given to a function of three",
        r"write (preds=lambda outputs, batch, returned: )\.\.\.",
        r"lw.ConfusionMatrix(5, \1returned['scores'])",
    ),
    Situation(
        "A key that is like none", "lw.ConfusionMatrix(5, preds='probabilities', targets=1)",
        validate(returns=lambda s: {"found": s, "target": Y[: len(s)]}), CM,
        "preds='probabilities' is no key of the step's output", "expected one that is there", r"as (preds='found')",
        r"lw.ConfusionMatrix(5, \1, targets=1)",
    ),
    Situation(
        "A place that is none", "lw.ConfusionMatrix(5, targets=True)", validate(), "ConfusionMatrix", "targets=True",
        "expected a key, an index into the batch", r"(targets)=True", r"lw.ConfusionMatrix(5, \1=1)",
    ),
    Situation(
        "A module where its name was meant", "lw.ConfusionMatrix(64, forward=torch.nn.Flatten())", validate(),
        "ConfusionMatrix", "forward is Flatten", "expected the name of a submodule", r"write (forward='net')",
        r"lw.ConfusionMatrix(64, \1)",
    ),
    Situation(
        "Labels where scores are needed", "lw.PredictionGrid(4, select='hardest')",
        validate(returns=lambda s: {"pred": s.argmax(1)}), "PredictionGrid('val/predictions')",
        "preds are torch.int64 (4,)", "needs scores", r"as in (preds=lambda .*?), or",
        r"lw.PredictionGrid(4, select='hardest', \1)", 4,
    ),
    Situation(
        "An index beyond the batch", "lw.ConfusionMatrix(5, targets=2)", validate(), CM,
        "targets=2: the batch has 2 parts", "targets=0 to targets=1", r"targets=0 to (targets=1)",
        r"lw.ConfusionMatrix(5, \1)",
    ),
    Situation(
        "A name that is not usual", "lw.ConfusionMatrix(5)",
        validate(DataLoader([{"image": X, "species": Y}], batch_size=None)), CM, "no targets found",
        "batch is {'image': float32[8, 1, 8, 8], 'species': int64[8]}", r"pass (targets='species')",
        r"lw.ConfusionMatrix(5, \1)",
    ),
    Situation(
        "A stage that has no targets", "lw.ConfusionMatrix(5, stages=('train', 'val'))",
        fit(DataLoader(TensorDataset(X), batch_size=4)), "ConfusionMatrix('train/confusion_matrix')",
        "no targets found", "batch is (float32[4, 1, 8, 8])", r"leave the stage out, as in (stages=\('val',\))",
        r"lw.ConfusionMatrix(5, \1)",
    ),
    Situation(
        "A stage that there is not", "lw.ConfusionMatrix(5, stages=('validation',))", validate(), "ConfusionMatrix",
        "stages=('validation',)", "expected some of ('train', 'val', 'test', 'predict')",
        r"as in (stages=\('val',\))", r"lw.ConfusionMatrix(5, \1)",
    ),
    Situation(
        "A submodule that is not called", "lw.ConfusionMatrix(5, forward='nett')",
        validate(forward=lambda s: s), CM, "no preds found", "forward='nett' is no submodule of the module",
        r"did you mean '(net)'\?", r"lw.ConfusionMatrix(64, forward='\1')",
    ),
    Situation(
        "Predictions with a dimension too many", "lw.ConfusionMatrix(5, preds='labels', targets='truth')",
        validate(returns=labels_of_tokens), CM, "preds are torch.int64 (4, 3, 1) and targets torch.float32 (4, 3)",
        "expected one shape", r"write (preds=lambda .*\.squeeze\(-1\))",
        r"lw.ConfusionMatrix(5, \1, targets='truth')", 3 * N,
    ),
    Situation(
        "Several windows of a sample", "lw.ConfusionMatrix(5)",
        validate(forward=lambda s: s.repeat_interleave(3, 0)), CM, "found 12 in preds but 4 in targets",
        "expected one number of rows", r"write (targets=lambda .*?, 0\))", r"lw.ConfusionMatrix(5, \1)", 3 * N,
    ),
    Situation(
        "Scores whose classes come last", "lw.ConfusionMatrix(5, targets='truth')",
        validate(
            forward=lambda s: s[:, None].expand(-1, 3, -1),
            returns=lambda s: {"truth": (s.argmax(-1) + torch.arange(3)) % 5},
        ),
        CM, "preds are torch.float32 (4, 3, 5)", "expected float scores (4, 5, 3)", r"write (preds=lambda .*)",
        r"lw.ConfusionMatrix(5, \1, targets='truth')", 3 * N,
    ),
    Situation(
        "Another number of classes", "lw.ConfusionMatrix(10)", validate(), CM, "preds are torch.float32 (4, 5)",
        "expected float scores (4, 10)", r"as in (ConfusionMatrix\(5\))", r"lw.\1",
    ),
    Situation(
        "One-hot targets", "lw.ConfusionMatrix(5)", validate(loader(targets=torch.eye(5)[Y])), CM,
        "targets torch.float32 (4, 5)", "or integer labels", r"write (targets=lambda .*\.argmax\(1\))",
        r"lw.ConfusionMatrix(5, \1)",
    ),
    Situation(
        "One-hot targets in a batch with names", "lw.PredictionGrid(4)",
        validate(DataLoader([{"image": X, "label": torch.eye(5)[Y]}], batch_size=None)),
        "PredictionGrid('val/predictions')",
        "targets torch.float32 (8, 5)", "targets as labels (N,)", r"write (targets=lambda .*?\.argmax\(1\))",
        r"lw.PredictionGrid(4, \1)", 4,
    ),
    Situation(
        "Targets that are no whole numbers", "lw.ConfusionMatrix(5)", validate(loader(targets=Y + 0.25)), CM,
        "8 labels are out of range (for example one that is no whole number)", "expected 0 to 4",
        r"as in (targets=lambda .*\.round\(\))", r"lw.ConfusionMatrix(5, \1)",
    ),
    Situation(
        "Targets that do not count", "lw.ConfusionMatrix(5)", validate(loader(targets=torch.where(Y == 4, 255, Y))), CM,
        "1 labels are out of range (for example 255)", "expected 0 to 4", r"Write (ignore_index=255)",
        r"lw.ConfusionMatrix(5, \1)", N - 1,
    ),
    Situation(
        "One target a sample where several were meant", "lw.MultilabelConfusionMatrix(5)", validate(),
        "MultilabelConfusionMatrix('val/confusion_matrix')", "targets torch.int64 (4,)", "expected (N, 5, ...) of both",
        r"write (ConfusionMatrix\(5\))", r"lw.\1",
    ),
    Situation(
        "Scores that may be probabilities or logits", "lw.ConfusionMatrix(2, preds='score', targets='truth')",
        validate(returns=score), CM, "[-0.1", "probabilities in [0, 1]", r"pass (logits=True)",
        r"lw.ConfusionMatrix(2, preds='score', targets='truth', \1)",
    ),
    Situation(
        "Small logits that look like probabilities", "lw.ConfusionMatrix(2, preds='score', targets='truth')",
        validate(returns=small), CM, "all predictions are 0", "expected some of 0 and of 1", r"Write (logits=True)",
        r"lw.ConfusionMatrix(2, preds='score', targets='truth', \1)",
    ),
    Situation(
        "Logits that are called probabilities", "lw.ConfusionMatrix(2, preds='score', targets='truth', logits=False)",
        validate(returns=score), CM, "scores are no probabilities", "in [0, 1]", r"pass (logits=True)",
        r"lw.ConfusionMatrix(2, preds='score', targets='truth', \1)",
    ),
    Situation(
        "Strings as predictions", "lw.ConfusionMatrix(5, preds='answers')",
        validate(returns=lambda s: {"answers": ["cat", "dog", "owl", "bee"]}), CM,
        "preds='answers' gives list of 4 str", "expected a tensor", r"as in (preds=lambda .*?\]\))",
        r"lw.ConfusionMatrix(5, \1)",
    ),
    Situation(
        "Two callbacks of one name",
        "[lw.ConfusionMatrix(5), lw.ConfusionMatrix(5, normalize='true', stages=('val',))]", validate(), CM,
        "another ConfusionMatrix logs 'val/confusion_matrix', too", "expected keys of its own", r'as in (name="mine")',
        r"[lw.ConfusionMatrix(5), lw.ConfusionMatrix(5, normalize='true', stages=('val',), \1)]",
    ),
    Situation(
        "A key that the module logs", f"lw.ScalarMetrics({{'acc': {ACC}(5)}})", validate(logs=["val/acc"]),
        "ScalarMetrics: 'val/acc'", "is logged by somebody else, too", "Expected a key of its own",
        r"ScalarMetrics\(\.\.\., (prefix='lw_')\)", rf"lw.ScalarMetrics({{'acc': {ACC}(5)}}, \1)", ["acc"],
    ),
    Situation(
        "A metric of another task", "lw.ScalarMetrics({'acc': torchmetrics.classification.BinaryAccuracy()})",
        validate(), "ScalarMetrics('val/acc')",
        "Found preds float32[4, 5], targets int64[4]", "expected what BinaryAccuracy takes",
        r"write (MulticlassAccuracy\(5\))", r"lw.ScalarMetrics({'acc': torchmetrics.classification.\1})", ["acc"],
        theirs=r"(?<='val/acc'\): ).*(?=Found)",
    ),
    Situation(
        "The class of a metric", f"lw.ScalarMetrics({{'acc': {ACC}}})", validate(), "ScalarMetrics",
        "acc is the class MulticlassAccuracy", "expected a Metric by name",
        r'write \{"acc": (MulticlassAccuracy\()\.\.\.',
        r"lw.ScalarMetrics({'acc': torchmetrics.classification.\g<1>5)})", ["acc"],
    ),
    Situation(
        "Names in one text", "lw.ConfusionMatrix(5, class_names='cat, dog, owl, cow, bee')", validate(),
        "ConfusionMatrix", "class_names='cat, dog, owl, cow, bee' is one text", "expected a list of names",
        r"write (class_names=.*)", r"lw.ConfusionMatrix(5, \1)",
    ),
    Situation(
        "Too few names", "lw.ConfusionMatrix(5, class_names=['cat', 'dog', 'owl'])", validate(), "ConfusionMatrix",
        "class_names has 3 names", "expected 5: one for each class", r"write (class_names=.*)",
        r"lw.ConfusionMatrix(5, \1)",
    ),
    Situation(
        "Too few names for the labels", "lw.PredictionGrid(8, class_names=['cat', 'dog', 'owl'])", validate(),
        "PredictionGrid('predictions')", "class_names has 3 names", "Give 5 names", r"write (class_names=.*)",
        r"lw.PredictionGrid(8, \1)",
    ),
    Situation(
        "Names with a gap", "lw.ConfusionMatrix(5, class_names={0: 'cat', 1: 'dog', 2: 'owl', 4: 'bee'})", validate(),
        "ConfusionMatrix", "class_names has no name for 3", "expected one name for each index", r"add (3: '3') to it",
        r"lw.ConfusionMatrix(5, class_names={0: 'cat', 1: 'dog', 2: 'owl', 4: 'bee', \1})",
    ),
    Situation(
        "Images of five channels", "lw.PredictionGrid(4)", validate(loader(X.expand(-1, 5, -1, -1))),
        "PredictionGrid('val/predictions')", "images are torch.float32 (4, 5, 8, 8)", "with C = 1, 3 or 4",
        r"Choose the channels to draw: (inputs=lambda .*?:3\])", r"lw.PredictionGrid(4, \1)", 4,
    ),
    Situation(
        "A mean without its std", "lw.ImageMosaic(4, mean=0.25)", validate(), "ImageMosaic('val/mosaic')",
        "mean is given without std", "expected both", r"Write (std=1)", r"lw.ImageMosaic(4, mean=0.25, \1)", 4,
    ),
    Situation(
        "Integers that are no pixels", "lw.ImageMosaic(4)", validate(loader((X * 1000).int())),
        "ImageMosaic('val/mosaic')", "images are int32 from", "expected 0 to 255", r"yourself: (inputs=lambda .*)",
        r"lw.ImageMosaic(4, \1)", 4,
    ),
    Situation(
        "Floats that are no pixels", "lw.ImageMosaic(4)",
        validate(DataLoader([{"image": X * 4 - 2, "label": Y}], batch_size=None)), "ImageMosaic('val/mosaic')",
        "images are float32 from -1.5 to", "expected 0 to 1: they were stretched",
        r"alike each time (mean=\S+, std=\S+);",
        r"lw.ImageMosaic(4, \1)", 4,
    ),
    Situation(
        "Images of several sizes", "lw.ImageMosaic(4, seed=1)",
        validate(DataLoader([(X[:4], Y[:4]), (X[4:, :, :6], Y[4:])], batch_size=None)),
        "ImageMosaic('val/mosaic') has no value", "samples have shapes", "expected one shape",
        r"as in (inputs=lambda .*)", r"lw.ImageMosaic(4, seed=1, \1)", 4,
    ),
    Situation(
        "The first samples of a loader that shuffles", "lw.PredictionGrid(4, select='first')",
        validate(loader(shuffle=True)), "PredictionGrid('val/predictions')",
        "the val loader does not tell which they are", "Give it shuffle=False",
        r"or (select='random')", r"lw.PredictionGrid(4, \1)", 4,
    ),
    Situation(
        "Labels where masks were meant", "lw.MaskGrid(4)", validate(), "MaskGrid('val/masks')",
        "preds (4, 5), targets (4,)", "expected inputs (N, 1 or 3, H, W)", r"write (PredictionGrid\()",
        r"lw.\g<1>4)", 4,
    ),
    Situation(
        "Epochs that never meet a validation", "lw.ConfusionMatrix(5, every_n_epochs=2)",
        fit(check_val_every_n_epoch=3), CM, "every_n_epochs=2 and the Trainer's check_val_every_n_epoch=3",
        "meet at every 6th epoch only", r"Take (every_n_epochs=3)", r"lw.ConfusionMatrix(5, \1)", None,
    ),
    Situation(
        "No checkpoints to keep", "lw.CheckpointArtifact()", fit(), "CheckpointArtifact",
        "the Trainer has no ModelCheckpoint", "expected one", r"append (ModelCheckpoint\(\))",
        r"[lw.CheckpointArtifact(), pl.callbacks.\1]", 1,
    ),
    Situation(
        "Two that deliver checkpoints",
        "[lw.CheckpointArtifact(), pl.callbacks.ModelCheckpoint(), *lw.presets.classification(5)]", validate(),
        "CheckpointArtifact", "found 2 of them", "expected one", r"\((?:presets have one): (checkpoints=False)\)",
        r"[lw.CheckpointArtifact(), pl.callbacks.ModelCheckpoint(), *lw.presets.classification(5, \1)]", None,
    ),
    Situation(
        "Checkpoints that are kept in a way that there is not", "lw.CheckpointArtifact(keep='best', missing_ok=True)",
        fit(), "CheckpointArtifact", "keep='best'", "expected 'ranked', 'all', or a timedelta above 0",
        r"expected ('ranked')",
        r"lw.CheckpointArtifact(keep=\1, missing_ok=True)", None,
    ),
    Situation(
        "A preset among callbacks", "[lw.presets.classification(5), pl.callbacks.ModelCheckpoint()]", validate(),
        "a preset is a list of callbacks", "found no ", "not a callback",
        r"callbacks=(\[\*lw\.presets\.classification\()\.\.\.\), other\]",
        r"\g<1>5), pl.callbacks.ModelCheckpoint()]", ["acc", "f1"],
    ),
    Situation(
        "A checkpoint callback of the other package",
        "[lw.ConfusionMatrix(5), lightning.pytorch.callbacks.ModelCheckpoint()]", validate(), "ModelCheckpoint",
        "ModelCheckpoint of lightning.pytorch under a Trainer of pytorch_lightning", "expected both of one package",
        r"write `(from \S+ import ModelCheckpoint)`", "\\1\n[lw.ConfusionMatrix(5), ModelCheckpoint()]",
    ),
    Situation(
        "A checkpoint of other arguments", "lw.ConfusionMatrix(5, ignore_index=0, stages=('train',))", resumed,
        "ConfusionMatrix('train/confusion_matrix')", "it was saved with ignore_index=None", "expected ignore_index=0",
        r"write (ignore_index=None)", r"lw.ConfusionMatrix(5, \1, stages=('train',))",
    ),
    Situation(
        "Rows that count twice on two processes", "lw.ConfusionMatrix(5, targets=1)", two_processes, CM,
        "rows count more than once", "the sampler repeats samples so that processes get equally many",
        r"Pass (ids=) to the callback", r"lw.ConfusionMatrix(5, targets=1, \g<1>2)", 18,
    ),
    Situation(
        "A batch of three parts", "lw.ConfusionMatrix(5)",
        validate(DataLoader(TensorDataset(X, Y * 0 + 1, Y), 4)), CM,
        "batch[1] of 3 parts is taken for the targets", "write targets=1 to say so", r"or (targets=2)",
        r"lw.ConfusionMatrix(5, \1)",
    ),
    Situation(
        "What to do about a NaN", "lw.GradientHistogram(on_nonfinite='error')", fit(), "GradientHistogram",
        "on_nonfinite='error'", "expected 'warn', 'raise' or 'ignore'", r"'warn', ('raise')",
        r"lw.GradientHistogram(on_nonfinite=\1)", [],
    ),
    Situation(
        "A callback class without one of its methods",
        "class Mine(lw.StateCallback):\n    def remembered(self, stage): return {}\n"
        "    def result(self, values): return values\n\nMine(name='mine')", validate(), "Mine",
        "has no method entries", "expected one", r"write (def entries\(self, key, values\))",
        "class Mine(lw.StateCallback):\n    def remembered(self, stage): return {}\n"
        "    def result(self, values): return values\n    \\1: return {}\n\nMine(name='mine')", None,
    ),
    Situation(
        "A writer without `write`",
        "class MyWriter:\n    def __init__(self, logger): ...\n    def log(self, entries, step): ...\n\n"
        "(lw.register_writer(MyLogger, MyWriter), lw.ConfusionMatrix(5))", validate(options={"logger": MyLogger()}),
        "the writer of MyLogger", "is a MyWriter without `write`", "has to return a writer",
        r"an object with (def write\(self, entries, step\))",
        "class MyWriter:\n    def __init__(self, logger): ...\n    \\1: ...\n\n"
        "(lw.register_writer(MyLogger, MyWriter), lw.ConfusionMatrix(5))",
    ),
]  # fmt: skip

INTRODUCTION = """# Messages and what to write

Each error and each warning names the callback and its key, what was found, what was expected and the words to write.
Here are the usual ones, each with a program that gives it and with the program as the message says to write it. A test
runs both.

Two callbacks of one class, name and stages are refused by Lightning itself, with "Found more than one stateful callback
of type": give one of them another `name`.
"""


def page() -> str:
    """docs/messages.md, from what the programs say."""
    sections = []
    for situation in SITUATIONS:
        heard = tried(situation.wrong, situation.program)
        sections.append(situation.section(situation.message(heard), heard.is_error))
    return "\n".join([INTRODUCTION, *sections])


if __name__ == "__main__":
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        PAGE.write_text(page())
