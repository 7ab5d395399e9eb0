"""From tensors of any dtype to pixels, on the CPU.

    to_pixels(images)                               # [N, C, H, W] in [0, 1] -> uint8 [N, H, W] or [N, H, W, 3]
    to_pixels(images, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))      # what was normalised
    to_pixels(scans, note=print)                    # says what was done to values that are no pixels

Nothing is drawn all white or all black without a word: where values had to be stretched or cut, `note` is called with
what was found, what was done and what to write.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch

Statistic = Sequence[float] | float | None
Note = Callable[[str], None]
Change = Callable[[np.ndarray], np.ndarray]

SLACK = 0.01  # an interpolation's rounding errors: outside [0, 1] by no more than this is inside
MANY = 0.5  # the share of values that are cut off from which on it is said


def to_pixels(
    images: torch.Tensor,
    mean: Statistic = None,
    std: Statistic = None,
    note: Note | None = None,
    field: str = "inputs",
    span: tuple[float, float] | None = None,
    counts: Counter[str] | None = None,
) -> np.ndarray:
    """Pixels of a stack of images, uint8 [N, H, W] when they are grey and [N, H, W, 3] when they are RGB.

    `images` is [N, C, H, W] with C = 1 (grey), 3 (RGB) or 4 (RGBA, whose alpha is dropped), or [N, H, W] (grey), on any
    device and of any real dtype:

    - floats, those of 8 and 16 bits too: `x * std + mean` first, if given (one number, or one per channel; a missing
      mean is 0, a missing std 1). Then [0, 1] is written as `round(255 * x)`, what lies outside is clamped and NaN is
      black. A mean or std above 1.5 is one of images of 0 to 255, and the result is divided by 255.
      Without `mean` and `std`, a stack with finite values outside [-0.01, 1.01] is no stack of [0, 1] and is stretched:
      its finite minimum becomes 0 and its finite maximum 255, one scale for the whole stack. Give `mean` and `std` (0
      and 1 will do) where brightness has to be comparable from one call to the next.
    - uint8: untouched. bool: 0 or 255. Other integers: untouched from 0 to 255. Beyond, uint16 that uses its range is
      divided by 257; all else is stretched as floats are. `mean` and `std` do not apply to integers.

    Args:
        note: called with a text for each thing that was done to the values and that one may not expect.
        field: the callback's argument that says where the images are, in messages.
        span: what is black and what is white, in place of what the values say, so that several stacks have one scale.
            Not for floats with mean or std.
        counts: where given, the finite values that were "cut" off at black and white, those that are "not finite", and
            all "values" are added to it.

    >>> to_pixels(torch.tensor([[[0.0, 0.5, 1.0]]])).tolist()
    [[[0, 128, 255]]]
    >>> to_pixels(torch.tensor([[[-5, 7, 300]]]), note=print).tolist()
    images are int64 from -5 to 300, expected 0 to 255: they were stretched to black and white. Scale them yourself: \
inputs=lambda outputs, batch: (batch[0].float() + 5) / 305
    [[[0, 10, 255]]]

    Raises ValueError for any other shape, for complex numbers, and for a mean or std of the wrong length.
    """
    say = (lambda text: note(_of_field(field, text))) if note else (lambda text: None)
    x = images.detach().cpu()
    if x.ndim == 3:
        x = x[:, None]
    if x.ndim != 4 or x.shape[1] not in (1, 3, 4) or x.is_complex():
        raise ValueError(_of_field(field, _no_images(images)))
    x = x[:, :3]
    counts = Counter() if counts is None else counts
    counts["values"] += x.numel()
    if x.is_floating_point():
        pixels = _of_floats(x, mean, std, say, span, counts)
    elif x.dtype == torch.bool:
        pixels = _channels_last(x.numpy()) * np.uint8(255)
    else:
        pixels = _channels_last(_of_integers(x.numpy(), say, span))
    return pixels[..., 0] if x.shape[1] == 1 else pixels


def check_statistics(owner: str, mean: Statistic, std: Statistic) -> None:
    """Whether these can be the mean and the standard deviation of a normalisation.

    Raises:
        ValueError: a standard deviation is not above 0, or both are given by channel and are not equally many.
    """
    spread = [] if std is None else [float(x) for x in np.ravel(np.asarray(std))]
    if not all(0 < x < np.inf for x in spread):
        raise ValueError(f"{owner}: std={std!r}, expected numbers above 0")
    sizes = [np.size(x) for x in (mean, std) if x is not None and np.ndim(x)]
    if len(set(sizes)) > 1:
        raise ValueError(f"{owner}: mean={mean!r} and std={std!r}, expected one number of each for each channel")


def is_channels_last(images: torch.Tensor) -> bool:
    """Whether a stack is [N, H, W, C], as far as a shape can tell.

    >>> is_channels_last(torch.zeros(2, 32, 32, 3)), is_channels_last(torch.zeros(2, 5, 32, 32))
    (True, False)
    """
    return images.ndim == 4 and images.shape[1] not in (1, 3, 4) and images.shape[3] in (1, 3, 4)


def _of_field(field: str, text: str) -> str:
    """A text about inputs, said of another field."""
    if field == "inputs":
        return text
    if field == "sample":  # a function of the module, which has no batch
        cure = re.sub(r"inputs=lambda [^:]*: (.*?)batch\[0\]", r"in the function of sample=, images = \1images", text)
        return re.sub(r"^images\b", "images of sample=", cure)
    cure = re.sub(r"inputs=(lambda [^:]*: .*?)batch\[0\]", rf"{field}=\1...", text)
    return re.sub(r"^images\b", f"{field} that are images", cure)


def _no_images(images: torch.Tensor) -> str:
    """What is wrong with them, and what to write instead."""
    shape = tuple(images.shape)
    found = f"images are {images.dtype} {shape}, expected real [N, H, W] or [N, C, H, W] with C = 1, 3 or 4"
    if images.is_complex():
        return f"{found}. Draw their size: inputs=lambda outputs, batch: batch[0].abs()"
    if len(shape) != 4:
        return f"{found}. Say what the images are: inputs=lambda outputs, batch: ..."
    if is_channels_last(images):
        return f"{found}. Channels go first: inputs=lambda outputs, batch: batch[0].movedim(-1, 1)"
    few = 3 if shape[1] > 3 else 1
    return f"{found}. Choose the channels to draw: inputs=lambda outputs, batch: batch[0][:, :{few}]"


def _of_integers(x: np.ndarray, say: Note, span: tuple[float, float] | None) -> np.ndarray:
    low, high = (int(x.min()), int(x.max())) if x.size else (0, 0)
    if span is None and low >= 0 and high <= 255:
        return x.astype(np.uint8)
    if span is None and _is_16_bits(x.dtype, high):
        return (x.astype(np.float64) / 257).round().astype(np.uint8)
    if low < 0 or high > 255:
        found = f"images are {x.dtype} from {low} to {high}, expected 0 to 255"
        say(f"{found}: they were stretched to black and white. Scale them yourself: {_scaled(low, high)}")
    # In float64, which holds an int64 or uint64 to 53 bits: far more than 8. What is subtracted cannot overflow there.
    black, white = span or (low, high)
    shares = (x.astype(np.float64) - black) / (float(white) - black or 1.0)
    return np.asarray((shares * 255).round().clip(0, 255).astype(np.uint8))


def _is_16_bits(dtype: np.dtype, high: float) -> bool:
    """Whether they are uint16 that use their range; below, they are 12 bits in 16, and would be as good as black."""
    return dtype == np.uint16 and high >= 2**12


def scale_of(images: torch.Tensor) -> tuple[tuple[float, float], bool]:
    """The least and the greatest finite value of a stack [N, C, H, W], and whether `to_pixels` leaves its scale alone.

    >>> scale_of(torch.tensor([[[[0.25, 3.0]]]])), scale_of(torch.tensor([[[[7, 9]]]]))
    (((0.25, 3.0), False), ((7, 9), True))
    """
    x = images.detach().cpu()
    if x.is_floating_point():
        return (span := range_of(x)), is_inside(span)
    values = x.numpy()
    low, high = (int(values.min()), int(values.max())) if values.size else (0, 0)
    return (low, high), (low >= 0 and high <= 255) or _is_16_bits(values.dtype, high)


def values_of(images: torch.Tensor, mean: Statistic = None, std: Statistic = None) -> np.ndarray:
    """Values of a stack [N, C, H, W] in the units in which they are drawn, float64: 0 to 1, where they are pixels.

    Integers are divided by 255; floats with mean or std are `x * std + mean`, by 255 where those are of 0 to 255.

    >>> values_of(torch.tensor([[[[0, 51]]]], dtype=torch.uint8)).tolist()
    [[[[0.0, 0.2]]]]
    """
    x = images.detach().cpu()
    if x.dtype == torch.bool:
        return x.numpy().astype(np.float64)
    if not x.is_floating_point():
        return x.numpy().astype(np.float64) / 255
    values = x.double().numpy()
    if mean is None and std is None:
        return values
    scale, shift = _per_channel("std", std, 1.0, images), _per_channel("mean", mean, 0.0, images)
    return np.asarray((values * scale + shift) / (255 if _is_by_255(scale, shift) else 1))


def _scaled(low: float, high: float) -> str:
    """What to write for images that are stretched alike each time."""
    shift = f"(batch[0].float() {'-' if low > 0 else '+'} {abs(low):.9g})" if low else "batch[0].float()"
    return f"inputs=lambda outputs, batch: {shift} / {high - low or 1:.9g}"


def _undone(low: float, high: float) -> str:
    """The mean and std that draw floats alike each time. Only pictures have them: no number that is logged changes.

    From 0 at most to 1 at least, so that neither is above 1, where it would be one of images of 0 to 255.
    """
    black, white = min(low, 0.0), max(high, 1.0)
    std = 1 / (white / 2 - black / 2) / 2  # halves: no overflow
    return f"mean={0.0 - black * std:.4g}, std={std:.4g}"


def _of_floats(
    images: torch.Tensor,
    mean: Statistic,
    std: Statistic,
    say: Note,
    span: tuple[float, float] | None,
    counts: Counter[str],
) -> np.ndarray:
    if mean is None and std is None:
        return _written(images, _counted(_stretching(images, say, span), counts))
    if mean is None or std is None:
        given, missing, value = ("std", "mean", 0) if mean is None else ("mean", "std", 1)
        used = f"{given} is given without {missing}, expected both: {missing}={value} is used"
        say(f"{used}. Write {missing}={value} if that is meant")
    scale, shift = _per_channel("std", std, 1.0, images), _per_channel("mean", mean, 0.0, images)
    by_255 = _is_by_255(scale, shift)
    if by_255:
        say(
            "mean and std are those of images from 0 to 255: the images were divided by 255. To draw them as images "
            f"from 0 to 1 write {_by_255('mean', shift)}, {_by_255('std', scale)}"
        )

    def undo(x: np.ndarray) -> np.ndarray:
        x = x * scale
        x += shift
        if by_255:
            x /= 255
        return x

    here: Counter[str] = Counter()
    pixels = _written(images, _counted(undo, here))
    counts += here
    cut, found = here["cut"], images.numel() - here["not finite"]
    is_meant = bool((scale == 1).all() and (shift == 0).all())  # what to write to have them cut off
    if cut > MANY * found and not is_meant:
        say(
            f"{cut / found:.0%} of the values of the images lie outside 0 to 1 after x * std + mean: they are black or "
            "white. Give the mean and std that the images were normalised with, or neither to have them stretched"
        )
    return pixels


def _counted(change: Change, counts: Counter[str]) -> Change:
    """The same, and what it makes of values is counted."""

    def counting(x: np.ndarray) -> np.ndarray:
        x = change(x)
        inside, finite = int(np.count_nonzero((x >= -SLACK) & (x <= 1 + SLACK))), x.size
        if inside < finite:
            finite = int(np.count_nonzero(np.isfinite(x)))
        counts["cut"] += finite - inside
        counts["not finite"] += x.size - finite
        return x

    return counting


def _stretching(images: torch.Tensor, say: Note, span: tuple[float, float] | None) -> Change:
    """What brings a stack into [0, 1]: nothing where it is there, unless a span is given."""
    own = range_of(images)
    if not is_inside(own):
        say(
            f"images are {str(images.dtype).removeprefix('torch.')} from {own[0]:.4g} to {own[1]:.4g}, expected 0 to "
            "1: they were stretched to black and white. Write mean= and std= of their normalisation; or to draw them "
            f"alike each time {_undone(*(span or own))}; or mean=0, std=1 to cut them off at 0 and 1"
        )
    elif span is None:
        return lambda x: x
    low, high = span or own
    return lambda x: (x.astype(np.float64) / 2 - low / 2) / (high / 2 - low / 2 or 1.0)  # halves: no overflow


def is_inside(span: tuple[float, float]) -> bool:
    """Whether a least and a greatest value are those of images of 0 to 1, or nearly."""
    return span[0] >= -SLACK and span[1] <= 1 + SLACK


def range_of(images: torch.Tensor) -> tuple[float, float]:
    """The least and the greatest finite value of a stack [N, C, H, W] of floats; 0 and 0 where there is none."""
    low, high = math.inf, -math.inf
    for x in _parts(images):
        least, greatest = x.min(initial=math.inf), x.max(initial=-math.inf)
        if not (math.isfinite(least) and math.isfinite(greatest)):
            finite = x[np.isfinite(x)]
            least, greatest = finite.min(initial=math.inf), finite.max(initial=-math.inf)
        low, high = min(low, float(least)), max(high, float(greatest))
    return (low, high) if low <= high else (0.0, 0.0)


def _written(images: torch.Tensor, change: Change) -> np.ndarray:
    """`round(255 * x)` of what `change` makes of images [N, C, H, W], clamped, NaN as 0: uint8 [N, H, W, C].

    In float64 the product of a float32 is exact, so that ties are rounded alike everywhere.
    """
    n, channels, height, width = images.shape
    pixels, done = np.empty((n, height, width, channels), np.uint8), 0
    for part in _parts(images):
        with np.errstate(invalid="ignore", over="ignore"):  # infinity stays what it is
            x = np.multiply(change(part), 255.0, dtype=np.float64)
        x = np.rint(x.clip(0.0, 255.0, out=x), out=x)
        unknown = np.isnan(x)
        if unknown.any():
            x[unknown] = 0
        _copy(x, pixels[done : done + len(x)])
        done += len(x)
    return pixels


def _parts(images: torch.Tensor) -> Iterator[np.ndarray]:
    """The stack as float64 or float32 arrays [n, C, H, W], of as many images as a processor's cache holds together.

    So each step of the arithmetic finds the last one's result there: ten times as fast as step by step of all images.
    """
    step = max(1, 2**17 // max(1, images[:1].numel()))
    for part in torch.split(images, step):
        # float8 goes by float32, since torch converts some kinds of it to nothing else; numpy has no bfloat16.
        yield part.numpy() if part.dtype in (torch.float32, torch.float64) else part.float().numpy()


def _channels_last(x: np.ndarray) -> np.ndarray:
    """[N, C, H, W] -> uint8 [N, H, W, C], a copy."""
    pixels = np.empty((x.shape[0], *x.shape[2:], x.shape[1]), np.uint8)
    _copy(x, pixels)
    return pixels


def _copy(x: np.ndarray, pixels: np.ndarray) -> None:
    for channel in range(x.shape[1]):  # three times as fast as all channels in one assignment
        pixels[..., channel] = x[:, channel]


def _per_channel(name: str, value: Statistic, default: float, images: torch.Tensor) -> np.ndarray:
    values = np.asarray(torch.as_tensor(default if value is None else value, dtype=torch.float64, device="cpu"))
    values = values.reshape(-1, 1, 1)
    if len(values) not in (1, images.shape[1]):
        raise ValueError(f"{name} has {len(values)} values, expected 1 or one for each of {images.shape[1]} channels")
    return values


def _is_by_255(scale: np.ndarray, shift: np.ndarray) -> bool:
    return bool(max(np.abs(scale).max(), np.abs(shift).max()) > 1.5)


def _by_255(name: str, values: np.ndarray) -> str:
    texts = [f"{value / 255:.3g}" for value in values.ravel()]
    return f"{name}={texts[0]}" if len(texts) == 1 else f"{name}=({', '.join(texts)})"
