"""What metrics of images take: pictures, masks of classes, boxes.

image_batches(channels=3, size=16)      # (preds float32 [N, 3, 16, 16] in 0 to 1, target of the same)
mask_batches(num_classes=3)             # (preds int64 [N, 4, 4], target of the same)
box_batches(num_classes=2)              # ([{"boxes": [M, 4], "scores": [M], "labels": [M]}, ...], [...])
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import torch
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy
from torch import Tensor

from lwcallbacks.testing.samples import Args
from lwcallbacks.testing.strategies.numbers import grid, noise, tensors
from lwcallbacks.testing.strategies.splitting import batches_of

Batches: TypeAlias = SearchStrategy[list[tuple[Tensor, ...]]]


def image_batches(
    *,
    channels: int = 3,
    size: int | tuple[int, int] = 16,
    low: float = 0.0,
    high: float = 1.0,
    pair: bool = True,
    nan: bool = False,
    degenerate: bool = True,
    **sizes: int,
) -> Batches:
    """Batches (preds, target) of pictures, both float32 [N, C, H, W] of 256 levels; or (images,).

    Args:
        channels: C.
        size: H and W, an int where they are the same.
        low, high: the range of values, both ends included.
        pair: whether there is a target.
        nan: whether preds may have a NaN.
        degenerate: whether there are data sets of pictures of one colour, of black ones, or of equal pairs.
        sizes: min_batches, max_batches, min_size, max_size, as for `batches_of`. max_size is 3 if it is not given.

    Examples:
        >>> from hypothesis import given
        >>> @given(image_batches(channels=1, size=(4, 6)))
        ... def test(batches):
        ...     for preds, target in batches:
        ...         assert preds.shape == target.shape == (len(preds), 1, 4, 6) and preds.max() <= 1
        >>> test()
    """
    height, width = (size, size) if isinstance(size, int) else size

    def samples(draw: DrawFn, n: int) -> Args:
        kinds = [*["ordinary"] * 5, "one colour", "black", *["equal"] * pair]
        kind = draw(st.sampled_from(kinds)) if degenerate else "ordinary"
        shape = (n, channels, height, width)
        images = [draw(noise(shape, low=low, high=high)) for _ in range(1 + pair)]
        if kind == "one colour":
            images = [image[:, :, :1, :1].expand(shape).clone() for image in images]
        if kind == "black":
            images[0] = torch.full(shape, low)
        if kind == "equal":
            images[1] = images[0].clone()
        if nan:
            images[0][draw(tensors(n, torch.int64, max_value=3)) == 3, 0, 0, 0] = float("nan")
        return tuple(images)

    return batches_of(samples, **{"max_size": 3, **sizes})


def mask_batches(
    num_classes: int = 3,
    *,
    size: int | tuple[int, int] = 4,
    form: Literal["index", "one-hot"] = "index",
    every_class: bool = False,
    degenerate: bool = True,
    **sizes: int,
) -> Batches:
    """Batches (preds, target) of a class for each pixel, both int64.

    Args:
        num_classes: C.
        size: H and W, an int where they are the same. Larger masks than 8 x 8 are made of so many blocks.
        form: "index", [N, H, W] of 0 to C - 1; or "one-hot", [N, C, H, W] of 0 and 1.
        every_class: whether each mask has pixels of all classes, for metrics that are not defined without.
        degenerate: whether there are data sets of one class, without the first class, or with equal preds and target.
        sizes: min_batches, max_batches, min_size, max_size, as for `batches_of`.

    Examples:
        >>> from hypothesis import given
        >>> @given(mask_batches(3, form="one-hot"))
        ... def test(batches):
        ...     for preds, target in batches:
        ...         assert preds.shape == (len(target), 3, 4, 4) and (target.sum(1) == 1).all()
        >>> test()

    Raises:
        ValueError: `every_class` and fewer pixels than classes.
    """
    height, width = (size, size) if isinstance(size, int) else size
    if every_class and height * width < num_classes:
        raise ValueError(f"mask_batches: every_class=True, and {height} x {width} pixels for {num_classes} classes")

    def mask(draw: DrawFn, n: int, kind: str) -> Tensor:
        # At most 8 x 8 blocks are drawn: more numbers than hypothesis allows would be needed for a large mask.
        rows, columns = min(height, 8), min(width, 8)
        blocks = draw(tensors((n, rows, columns), torch.int64, max_value=num_classes - 1))
        row, column = torch.arange(height) * rows // height, torch.arange(width) * columns // width
        pixels = blocks[:, row[:, None], column]
        if kind == "one class":
            pixels[:] = pixels.flatten()[0].item()
        if kind == "a missing class":
            pixels[pixels == 0] = num_classes - 1
        if every_class:
            pixels.view(n, -1)[:, :num_classes] = torch.arange(num_classes)
        return pixels

    def samples(draw: DrawFn, n: int) -> Args:
        odd = ["equal"] if every_class else ["one class", "a missing class", "equal"]
        kind = draw(st.sampled_from([*["ordinary"] * 4, *odd])) if degenerate else "ordinary"
        target = mask(draw, n, kind)
        preds = mask(draw, n, "ordinary")
        if kind == "equal":  # which draws what the others do, so that it can shrink to them
            preds = target.clone()
        if form == "index":
            return preds, target
        return tuple(torch.nn.functional.one_hot(m, num_classes).movedim(-1, 1) for m in (preds, target))

    return batches_of(samples, **sizes)


def box_batches(
    num_classes: int = 2,
    *,
    max_boxes: int = 3,
    size: int = 10,
    scores: bool = True,
    degenerate: bool = True,
    **sizes: int,
) -> SearchStrategy[list[tuple[list[dict[str, Any]], list[dict[str, Any]]]]]:
    """Batches (preds, target) as metrics of detection take them: two lists with a dict for each image.

    Each dict has "boxes", float32 [M, 4], as x1, y1, x2, y2 in whole pixels with x1 < x2 and y1 < y2, and "labels",
    int64 [M]; preds have "scores", too, float32 [M] in multiples of 0.05. M differs between images, and may be 0.

    Args:
        num_classes: labels are 0 to num_classes - 1.
        max_boxes: the most in an image.
        size: height and width of an image.
        scores: whether preds have scores.
        degenerate: whether there are data sets without preds, without targets, with perfect preds, or with the same
            score for each box.
        sizes: min_batches, max_batches, min_size, max_size, as for `batches_of`.

    Examples:
        >>> from hypothesis import given
        >>> @given(box_batches(num_classes=2))
        ... def test(batches):
        ...     for preds, target in batches:
        ...         assert len(preds) == len(target) and preds[0]["boxes"].shape == (len(preds[0]["scores"]), 4)
        >>> test()
    """
    if size < 2:
        raise ValueError(f"box_batches: size={size}, expected at least 2 pixels")

    def images(draw: DrawFn, n: int) -> list[dict[str, Tensor]]:
        counts = draw(tensors(n, torch.int64, max_value=max_boxes)).tolist()
        total = sum(counts)
        start = draw(tensors((total, 2), torch.int64, max_value=size - 2))
        extent = 1 + draw(tensors((total, 2), torch.int64, max_value=size - 1)) % (size - 1 - start)
        boxes = torch.cat([start, start + extent], 1).float()
        labels = draw(tensors(total, torch.int64, max_value=num_classes - 1))
        return [
            {"boxes": b, "labels": c}
            for b, c in zip(torch.split(boxes, counts), torch.split(labels, counts), strict=True)
        ]

    def samples(draw: DrawFn, n: int) -> Args:
        odd = ["no preds", "no target", "perfect", "equal scores"]
        kind = draw(st.sampled_from([*["ordinary"] * 4, *odd])) if degenerate else "ordinary"
        preds, target = images(draw, n), images(draw, n)
        if kind == "perfect":
            preds = [{name: found.clone() for name, found in image.items()} for image in target]
        for empty, these in (("no preds", preds), ("no target", target)):
            if kind == empty:
                these[:] = [{name: found[:0] for name, found in image.items()} for image in these]
        if scores:
            counts = [len(image["labels"]) for image in preds]
            drawn = draw(grid(sum(counts), low=0, high=1, step=0.05))
            drawn = torch.full_like(drawn, 0.5) if kind == "equal scores" else drawn
            preds = [{**image, "scores": part} for image, part in zip(preds, torch.split(drawn, counts), strict=True)]
        return preds, target

    return batches_of(samples, **sizes)
