"""What is said of labels that are out of range, with what to write.

of_labels(2, example=255, classes=10, more=True)   # "2 labels are out of range (for example 255), expected ..."
"""

from __future__ import annotations

from lwcallbacks.reductions.fitting import FRACTION

MANY = 1000
"""A label from here on is hardly a class that was forgotten."""


def of_labels(count: int, example: int, classes: int, more: bool) -> str | None:
    """What to say of so many labels that are none of 0 to `classes` - 1; None where there were none.

    Args:
        more: whether there could be more classes than these.
    """
    if not count:
        return None
    found = f"{count} labels are out of range (for example {_in_words(example)})"
    return f"{found}, expected 0 to {classes - 1}; they were left out of the counts. {_cure(example, more)}"


def _cure(example: int, more: bool) -> str:
    if example == FRACTION:
        return "Make them whole, as in targets=lambda outputs, batch: batch[1].round()"
    larger = f", or num_classes={example + 1} if it is a class" if 0 <= example < MANY and more else ""
    return f"Write ignore_index={example} if that is a target that does not count{larger}"


def _in_words(label: int) -> str:
    return "one that is no whole number" if label == FRACTION else str(label)
