"""The usual names of fields: the one table."""

from __future__ import annotations

from collections.abc import Mapping

KEYS: Mapping[str, tuple[str, ...]] = {
    "inputs": ("inputs", "input", "images", "image", "pixel_values", "x"),
    # Predictions go before the scores that they were made from: the step may have a threshold of its own.
    "preds": ("preds", "pred", "predictions", "prediction", "logits", "outputs", "output"),
    # Masks come last: beside labels they are those of objects, and beside `y` they are padding.
    "targets": ("targets", "target", "labels", "label", "gt_labels", "gt_label", "y", "masks", "mask"),
    "loss": ("loss",),
}
"""Names by field, in the order in which they are asked for."""

BATCH_INDEX: Mapping[str, int] = {"inputs": 0, "targets": 1}
"""Where a field is in a batch without names."""

USUAL: tuple[str, ...] = tuple(name for names in KEYS.values() for name in names)
