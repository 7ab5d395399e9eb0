"""One batch, as the needs of all callbacks see it: its fields, the indices that its loader drew, and its sample ids."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from lwcallbacks.callbacks.need import MADE, Need
from lwcallbacks.capture import CaptureError, Items, Source, Step
from lwcallbacks.capture.tree import walk
from lwcallbacks.reductions.hashing import content_ids
from lwcallbacks.state.padding import Drawn, Layout


@dataclass
class Place:
    """Where batches come from that are remembered together: one loader, or several that give one batch together.

    Args:
        layouts: what is known of each; None where nothing is.
        split: takes a batch apart, one part for each loader; None for one loader alone.
        done: how many batches of the epoch were given out before this loader's own start.
        name: what is appended to keys, such as "/dataloader_idx_1".
    """

    layouts: Sequence[Layout | None]
    split: Callable[[Any], Sequence[Any]] | None = None
    done: int = 0
    name: str = ""

    @property
    def is_dealt(self) -> bool:
        """Whether samplers are known to deal all samples to the processes, each to one but for padding."""
        return all(layout is not None and layout.is_dealt for layout in self.layouts)


class Batch:
    """What one batch holds, found once for all needs."""

    def __init__(self, place: Place, batch_idx: int, step: Step, num_replicas: int, stage: str | None = None) -> None:
        self.step = step
        self._stage = stage
        self._place = place
        self._idx = batch_idx - place.done
        self._num_replicas = num_replicas
        self._found: dict[Any, Any] = {}
        self._contents: dict[tuple[int, ...], Tensor] = {}

    @cached_property
    def _parts(self) -> Sequence[Any] | None:
        return None if self._place.split is None else self._place.split(self.step.batch)

    def _get(self, name: str, need: Need) -> Any:
        key = (name, need.source)
        if key not in self._found:
            self._found[key] = self.step.find(name, need.source)
        return self._found[key]

    def find(self, need: Need) -> dict[str, Any]:
        """The fields of a need that are there: tensors, or what their forms read.

        Raises:
            CaptureError: one is missing, or they have unlike numbers of rows.
        """
        fields: dict[str, Any] = {}
        for name in need.names:
            if name in MADE:
                continue
            tensor = self._get(name, need)
            if tensor is not None:
                fields[name] = tensor
            elif name not in need.optional:
                raise self.step.missing(name, need.source, self._stage)
        sizes = {len(t): name for name, t in fields.items() if t.ndim}
        if len(sizes) > 1:
            told = " but ".join(f"{size} in {name}" for size, name in sizes.items())
            raise CaptureError(
                f"found {told} along dimension 0, expected one number of rows{self._more_rows(sizes, need)}; "
                f"{self.step.describe()}"
            )
        return fields

    def _more_rows(self, sizes: Mapping[int, str], need: Need) -> str:
        """What to write where several rows stand for a sample, as windows or crops do."""
        few, many = min(sizes), max(sizes)
        name = sizes[few]
        code = self.step.code(name, need.source)
        if not few or many % few or not code:
            return ""
        again = f"{code}.repeat_interleave({many // few}, 0)"
        return (
            f". If {many // few} rows of {sizes[many]} that follow each other are of one sample, write "
            f"{name}=lambda outputs, batch: {again}"
        )

    def codes(self, need: Need) -> dict[str, str]:
        """How a function would get each field of a need, as `batch[1]`; "" where only the user knows."""
        return {name: self.step.code(name, need.source) for name in need.names if name not in MADE}

    def _layout(self, need: Need) -> Layout | None:
        """The layout of the one loader that all fields of a need come from."""
        if self._parts is None:
            return self._place.layouts[0]
        origins: set[int] = set()
        for name in need.names:
            if name not in MADE and self._get(name, need) is not None:
                parts = self.step.parts_of(name, need.source, self._parts)
                if parts is None:
                    return None
                origins |= parts
        return self._place.layouts[origins.pop()] if len(origins) == 1 else None

    def drawn(self, need: Need) -> Drawn | None:
        """The indices of the batch; None where they cannot be known. On one process none is padding."""
        layout = self._layout(need)
        if layout is None:
            return None
        drawn = layout.drawn(self._idx)
        return drawn if self._num_replicas > 1 else Drawn(drawn.start, drawn.size, drawn.size)

    @property
    def is_padded(self) -> bool:
        """Whether some of what the loaders drew for this batch is padding."""
        drawn = [layout.drawn(self._idx) for layout in self._place.layouts if layout is not None]
        return self._num_replicas > 1 and any(d.counted < d.size for d in drawn)

    def reordered(self, need: Need) -> list[Tensor]:
        """For each field that the batch holds, too: whether the step gave its rows in another order, a bool tensor.

        Rows that are equal as a set, and not as a sequence. A field that was changed in other ways is not judged.
        """
        own = Step(None, self.step.batch)
        checks = []
        for name in need.names:
            field = self._get(name, need) if name in ("inputs", "targets") else None
            there = own.find(name, Source(forms=need.source.forms)) if field is not None else None
            if field is None or there is None:
                continue
            if isinstance(field, Items):
                mine, theirs = [id(entry) for entry in field], [id(entry) for entry in there]
                checks.append(torch.tensor(mine != theirs and sorted(mine) == sorted(theirs)))
                continue
            if not isinstance(there, Tensor) or there.shape != field.shape or there.dtype != field.dtype:
                continue
            if field.ndim and there.device == field.device and there.data_ptr() != field.data_ptr():
                given, drawn = content_ids(field), content_ids(there)
                as_sets = (given.sort().values == drawn.sort().values).all()
                checks.append(as_sets & (given != drawn).any())
        return checks

    def guesses(self, need: Need) -> list[str]:
        """What was guessed of where the fields are, in words."""
        found = [self.step.guess(name, need.source) for name in need.names if name not in MADE]
        return [text for text in (*found, self._guessed_classes(need)) if text]

    def _guessed_classes(self, need: Need) -> str | None:
        """Where scores [N, C, L] could be [N, L, C] as well."""
        if "preds" not in need.names or "targets" not in need.names:
            return None
        preds, targets = self._get("preds", need), self._get("targets", need)
        if not (isinstance(preds, Tensor) and isinstance(targets, Tensor) and preds.is_floating_point()):
            return None
        if preds.ndim != targets.ndim + 1:
            return None
        if preds.ndim < 3 or not preds.shape[2:] == targets.shape[1:] == preds.shape[1:-1]:
            return None
        told = f"of preds {tuple(preds.shape)} dimension 1 is taken for the classes"
        return f"{told}; if the last one is, pass preds= with movedim(-1, 1)"

    def positions(self, need: Need, drawn: Drawn) -> Tensor | None:
        layout = self._layout(need)
        device = next((t.device for t in self.find(need).values()), torch.device("cpu"))
        return None if layout is None else layout.ids(drawn.start, drawn.counted, device)

    def content(self, need: Need, rows: int) -> Tensor:
        """What tells samples apart by what they hold, int64 [rows]: inputs and targets together.

        Where no inputs are found, all tensors of the batch; targets alone would make one sample of each class. Where
        there are no others either, as in a batch of texts, the fields of the need, predictions among them.
        """
        found = [self._get(name, need) for name in ("inputs", "targets")]
        fields = [t for t in found if t is not None and t.ndim and len(t) == rows]
        if found[0] is None:
            held = self._tensors(rows)
            fields = held if len(held) > 1 else [t for t in self.find(need).values() if t.ndim]
        fields = fields or [t for t in self.find(need).values() if t.ndim][:1]
        same = tuple(map(id, fields))  # they are kept in `_found`, or are the batch's
        if same not in self._contents:
            self._contents[same] = content_ids(*fields)
        return self._contents[same]

    def _tensors(self, rows: int) -> list[Tensor]:
        """Those of the batch that have so many rows."""
        found = (part for part in walk(self.step.batch) if isinstance(part, Tensor) and not part.is_sparse)
        return [t for t in found if t.ndim and len(t) == rows]

    def ids(self, need: Need, rows: int) -> Tensor | None:
        """What tells rows apart, int64 [rows], as the user says.

        Raises:
            CaptureError: there is not one for each row.
        """
        if need.source.ids is None:
            return None
        ids = self._get("ids", need)
        if ids is None or ids.ndim != 1 or len(ids) != rows or ids.is_floating_point():
            found = "nothing" if ids is None else f"{str(ids.dtype).removeprefix('torch.')}{list(ids.shape)}"
            raise CaptureError(f"ids={need.source.ids!r} gives {found}, expected one integer for each of {rows} rows")
        given: Tensor = ids.to(torch.int64)
        return given

    def num_samples(self, need: Need) -> int:
        """Of a batch of which the loader does not tell: the rows of its inputs, or else of its targets or preds."""
        for name in ("inputs", "targets", "preds"):
            tensor = self._get(name, need)
            if tensor is not None and tensor.ndim:
                return len(tensor)
        raise CaptureError(f"how many samples does a batch hold? {self.step.missing('inputs', need.source)}")


def num_rows(fields: Mapping[str, Any]) -> int | None:
    return next((len(t) for t in fields.values() if t.ndim), None)
