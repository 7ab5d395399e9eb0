"""One step of the user's module, to be asked for its fields.

seen = Step(outputs, batch, {None: [(x, logits)]})
seen.find("preds", Source()), seen.find("score", Source(more=(("score", "my_score"),)))
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lwcallbacks.capture import messages
from lwcallbacks.capture.errors import CaptureError
from lwcallbacks.capture.forms import Form
from lwcallbacks.capture.forward import Call
from lwcallbacks.capture.look import describe, may_have, names_of, part
from lwcallbacks.capture.names import BATCH_INDEX, KEYS
from lwcallbacks.capture.provenance import parts_with
from lwcallbacks.capture.source import Extract, Source, imported, is_further, takes_calls, takes_returned
from lwcallbacks.capture.tensors import as_tensor, has_samples, is_field
from lwcallbacks.capture.tree import walk


class _Found(NamedTuple):
    value: Any
    first: Any = None
    """The first argument of the forward call that returned it."""
    code: str = ""
    """How a function would get it, as `batch[1]`."""


class Step:
    """What one step saw.

    Args:
        outputs: what the step returned.
        batch: the batch that it was given.
        calls: the forward calls during the step, by the submodule's name as in `Source.forward`.
        unknown: names in `Source.forward` that are those of no submodule, with the names that there are.
    """

    def __init__(
        self,
        outputs: Any,
        batch: Any,
        calls: Mapping[str | None, Sequence[Call]] | None = None,
        unknown: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self.unknown = unknown or {}
        self.outputs = outputs
        self.batch = batch
        self.calls = calls or {}

    @property
    def returned_nothing(self) -> bool:
        """Whether the step returned None, as one does that skips its batch; in training that is an empty dict."""
        return self.outputs is None or (isinstance(self.outputs, Mapping) and not self.outputs)

    def find(self, field: str, source: Source) -> Any:
        """Return `field` as a plain tensor without a graph, or as its form reads it; None where it is nowhere.

        Looked for, in this order: where `source` says, then in the step's output by name, in what `self(x)` returned
        (for preds), in an output that is one tensor (for preds), and in the batch (for inputs and targets). Any
        further field is looked for under its own name.

        Raises:
            CaptureError: `source` says where it is, and it is no tensor, array or list of numbers there; or a tensor
                was found that cannot be used: a sparse or nested one, or a part of a distributed one.
        """
        extract = source.extract(field)
        found = self._found(field, source)
        if found is None:
            return None
        field, form, wanted = source.form(field)
        told = messages.place(field, extract)
        try:
            tensor = as_tensor(found.value) if form is None else form.read(found.value, wanted)
        except CaptureError as error:
            raise CaptureError(f"{told}: {error}; {self.describe()}") from error
        if tensor is None and not wanted:
            raise CaptureError(f"{messages.no_tensor(field, extract, found.value, found.code)}; {self.describe()}")
        return tensor

    def parts_of(self, field: str, source: Source, parts: Sequence[Any]) -> set[int] | None:
        """The parts, by index, of a batch of several that `field` comes from; None where that cannot be known.

        A field comes from a part whose tensor, array or list it is, or with which it shares memory; and what a
        forward call returned comes from where its first argument does.

        Raises:
            CaptureError: as for `find`.
        """
        found = self._found(field, source)
        if found is None:
            return None
        return parts_with(found.value, parts) or parts_with(found.first, parts) or None

    def code(self, field: str, source: Source) -> str:
        """How a function would get a field, as `batch[1]`; "" where a function makes it, or it is not there."""
        if callable(source.extract(field)):
            return ""
        try:
            found = self._found(field, source)
        except CaptureError:
            return ""
        if found is None:
            return ""
        return found.code or next((p.code for p in self._parts(source.forward) if p.value is found.value), "")

    def code_of_scores(self, source: Source) -> str:
        """How a function would get scores, of samples, of what the step or a forward call returned; "" without any."""
        parts = (part for part in self._parts(source.forward) if not part.code.startswith("batch"))
        scores = (p.code for p in parts if isinstance(p.value, Tensor) and p.value.is_floating_point() and p.value.ndim)
        return next(scores, "")

    def guess(self, field: str, source: Source) -> str | None:
        """What was guessed of where a field is, and how to say it; None where it is plain.

        Of a batch of more than two parts the second is taken for the targets, and of several forward calls that are
        alike the last for the predictions. Another one may be meant.
        """
        if field == "preds":
            return self._guess_of_calls(field, source)
        batch, place = self.batch, BATCH_INDEX.get(field)
        if field != "targets" or source.extract(field) is not None or place is None or names_of(batch):
            return None
        form = source.form(field)[1]
        if (form is not None and not form.is_tensor_too) or not isinstance(batch, (tuple, list)):
            return None
        if next(_by_name(self.outputs, field, has_samples), None) is not None:
            return None
        parts = [as_tensor(p) if is_field(p) and not isinstance(p, Tensor) else p for p in batch]
        taken = parts[place] if len(parts) > place else None
        ids = self._found("ids", source) if source.ids is not None else None
        said = [extract for name in ("inputs", "preds") if isinstance(extract := source.extract(name), int)]
        alike = [
            i
            for i, p in enumerate(parts)
            if i > place
            and i not in said
            and (ids is None or p is not ids.value)
            and isinstance(p, Tensor)
            and isinstance(taken, Tensor)
            and p.shape == taken.shape
        ]
        if not alike:
            return None
        others = " or ".join(f"targets={i}" for i in alike)
        told = f"batch[{place}] of {len(batch)} parts is taken for the targets"
        return f"{told}; write targets={place} to say so, or {others}"

    def _guess_of_calls(self, field: str, source: Source) -> str | None:
        extract, form = source.extract(field), source.form(field)[1]
        if extract is None:
            is_taken = form is None and next(_by_name(self.outputs, field, has_samples), None) is None
            is_taken = is_taken or source.forward is not None
        else:
            is_taken = callable(extract) and takes_returned(extract) and not takes_calls(extract)
        calls = self._calls(source.forward)[:2] if is_taken else []
        if len({*map(self._rank, calls)}) != 1 or len(calls) < 2 or _predicted(calls[0][1]) is None:
            return None
        name, number = messages.called(source.forward), len(self.calls[source.forward])
        told = f"{name} is called {number} times in a step, and the last call is taken"
        how = f"{field}=lambda outputs, batch, calls: calls[{number - 1}]"
        return f"{told}; write {how} to say so, calls[0] for the first, or what to make of them all"

    def describe(self) -> str:
        """What was there, in words."""
        told = [messages.calls(name, [output for _, output in calls]) for name, calls in self.calls.items()]
        forward = "; ".join(told) or "no self(x) was seen"
        return f"the step returned {describe(self.outputs)}; {forward}; batch is {describe(self.batch)}"

    def missing(self, field: str, source: Source, stage: str | None = None) -> CaptureError:
        """The error for a field that is needed and not there: what was looked for, what was there, what to write."""
        there = {"outputs": self.outputs, "returned": self._returned(source.forward), "batch": self.batch}
        advice = messages.advice(field, source, there, stage)
        forward = "" if field != "preds" else messages.no_submodule(source.forward, self.unknown)
        return CaptureError(f"no {field} found: {forward}{self.describe()}. {advice}")

    # -- where a field is ----------------------------------------------------------------------------------------------

    def _found(self, field: str, source: Source) -> _Found | None:
        extract, (field, form, _) = source.extract(field), source.form(field)
        if extract is not None:
            further = is_further(field) and extract == field
            return self._by_key(field, source.forward) if further else self._extract(field, extract, source.forward)
        usual = self._usual(field, source.forward) if form is None else self._of_form(field, source.forward, form)
        return next(usual, None)

    def _of_form(self, field: str, forward: str | None, form: Form) -> Iterator[_Found]:
        """A field that is no tensor, or may be none, in the usual places."""
        tensors = self._usual(field, forward) if form.is_tensor_too else iter(())
        if field == "preds":
            yield from tensors if not form.is_first else ()
            yield from map(_Found, _by_name(self.outputs, field, form.fits) if forward is None else ())
            for first, output in reversed(self.calls.get(forward, ())):
                yield from (_Found(found, first) for found in _by_name(output, field, form.fits))
                yield from [_Found(output, first)] if form.fits(output) else []
            yield from [_Found(self.outputs)] if forward is None and form.fits(self.outputs) else []
        elif field in BATCH_INDEX:
            takes_tensors = form.is_tensor_too and not form.is_first

            def fits(value: Any) -> bool:
                return form.fits(value) or (takes_tensors and has_samples(value))

            yield from map(_Found, _by_name(self.outputs, field, fits))
            yield from map(_Found, self._in_batch(field, fits))
        yield from tensors if form.is_first else ()

    def _usual(self, field: str, forward: str | None) -> Iterator[_Found]:
        if field == "preds":
            yield from self._preds(forward)
        elif field == "loss":
            numbers = (part(self.outputs, "loss"), self.outputs)
            yield from (_Found(n) for n in numbers if _is_number(n) or (isinstance(n, Tensor) and n is numbers[0]))
        elif field in BATCH_INDEX:
            yield from map(_Found, _by_name(self.outputs, field, has_samples))
            yield from map(_Found, self._in_batch(field))

    def _preds(self, forward: str | None) -> Iterator[_Found]:
        if forward is None:
            yield from map(_Found, _by_name(self.outputs, "preds", has_samples))
        for first, output in self._calls(forward)[:1]:
            yield from (_Found(found, first) for found in [_predicted(output)] if found is not None)
        if forward is None:
            yield from map(_Found, _only_tensor(self.outputs))

    def _in_batch(self, field: str, fits: Callable[[Any], bool] = is_field) -> Iterator[Any]:
        batch = self.batch
        if isinstance(batch, Tensor):
            yield from [batch] if field == "inputs" else []
            return
        yield from _by_name(batch, field, fits)
        if isinstance(batch, (tuple, list)) and BATCH_INDEX[field] < len(batch):
            yield from (p for p in [batch[BATCH_INDEX[field]]] if fits(p))

    def _extract(self, field: str, extract: Extract, forward: str | None) -> _Found:
        if callable(extract):
            return self._made_by(extract, field, extract, forward)
        if isinstance(extract, str):
            return self._named(field, extract, forward)
        return _Found(self._at(field, extract), code=f"batch[{extract}]")

    def _named(self, field: str, key: str, forward: str | None) -> _Found:
        found = self._by_key(key, forward)
        if found is not None:
            return found
        if "." in key:
            try:
                function = imported(key)
            except CaptureError as error:
                raise CaptureError(f"{messages.no_function(field, key)}: {error}; {self.describe()}") from error
            return self._made_by(function, field, key, forward)
        there = [name for place in self._places(forward) for name in names_of(place.value)]
        raise CaptureError(f"{messages.no_key(field, key, there)}; {self.describe()}")

    def _places(self, forward: str | None) -> list[_Found]:
        returned = [_Found(output, first, "returned") for first, output in self._calls(forward)]
        return [_Found(self.outputs, code="outputs"), *returned, _Found(self.batch, code="batch")]

    def _parts(self, forward: str | None) -> Iterator[_Found]:
        """The places, and what is in them under a name or an index."""
        for place in self._places(forward):
            yield place
            parts = names_of(place.value)
            if not parts and isinstance(place.value, (tuple, list)):
                parts = dict(enumerate(place.value))
            for name, value in parts.items():
                yield _Found(value, code=messages.part_code(place.code, place.value, name))

    def _by_key(self, key: str, forward: str | None) -> _Found | None:
        """Of the places that have that key, the first with samples, else the first with a number, else the first."""
        places = self._places(forward)
        found = [
            _Found(value, place.first, messages.part_code(place.code, place.value, key))
            for place in places
            if (value := part(place.value, key)) is not None
        ]
        return min(found, key=lambda f: (not has_samples(f.value), not is_field(f.value)), default=None)

    def _at(self, field: str, index: int) -> Any:
        batch = self.batch
        if isinstance(batch, Mapping) and index in batch:
            return batch[index]
        parts = (batch,) if isinstance(batch, Tensor) else batch
        if not isinstance(parts, (tuple, list)) or not -len(parts) <= index < len(parts):
            raise CaptureError(f"{messages.no_index(field, index, parts)}; {self.describe()}")
        return parts[index]

    def _made_by(self, function: Callable[..., Any], field: str, extract: Extract, forward: str | None) -> _Found:
        returned = self._returned(forward)
        arguments: tuple[Any, ...] = (self.outputs, self.batch)
        if takes_returned(function):
            if returned is None:
                told = "takes what a forward call returned, and no call was seen"
                raise CaptureError(f"{messages.place(field, extract)} {told}; {self.describe()}")
            each = [output for _, output in self.calls.get(forward, ())]
            arguments = (*arguments, each if takes_calls(function) else returned)
        try:
            with torch.no_grad():
                made = function(*arguments)
        except Exception as error:
            there = [*names_of(self.outputs), *names_of(self.batch), *names_of(returned)]
            told = messages.raised(field, extract, error, there)
            hint = "" if len(arguments) == 3 else messages.function_of_three(field, self.outputs, returned)
            raise CaptureError(f"{told}{hint}; {self.describe()}") from error
        return _Found(made)

    # -- forward calls -------------------------------------------------------------------------------------------------

    def _returned(self, forward: str | None) -> Any:
        return next((output for _, output in self._calls(forward)), None)

    def _calls(self, forward: str | None) -> list[Call]:
        """First the calls with predictions, then those with samples, then those on this batch's inputs; the last call
        before others."""
        calls = reversed(self.calls.get(forward, ()))
        return sorted(calls, key=self._rank)

    def _rank(self, call: Call) -> tuple[bool, ...]:
        first, output = call
        inputs = next(self._in_batch("inputs"), None)
        return _predicted(output) is None, not _holds(output), not _is_same(first, inputs)


def _holds(output: Any) -> bool:
    return any(map(has_samples, walk(output)))


def _by_name(container: Any, field: str, test: Callable[[Any], bool]) -> Iterator[Any]:
    names = KEYS[field]
    return (found for name in names if test(found := part(container, name))) if may_have(container, names) else iter(())


def _predicted(output: Any) -> Any:
    """The predictions in what a forward call returned."""
    found = next(_by_name(output, "preds", has_samples), None)
    if found is None and isinstance(output, (tuple, list)):
        output = output[0] if output else None
    return output if found is None and isinstance(output, Tensor) and output.ndim else found


def _only_tensor(output: Any) -> list[Tensor]:
    """The one tensor with dimensions that a step returned, alone or beside a loss; none where there are several."""
    parts = output if isinstance(output, (tuple, list)) else [output]
    found = [p for p in parts if isinstance(p, Tensor) and p.ndim]
    return found if len(found) == 1 else []


def _is_number(value: Any) -> bool:
    return value.ndim == 0 if isinstance(value, Tensor) else type(value) in (int, float)


def _is_same(first: Any, inputs: Any) -> bool:
    # An argument with a graph was detached when it was recorded, and is another object since.
    same = isinstance(first, Tensor) and isinstance(inputs, Tensor) and first.shape == inputs.shape
    return inputs is not None and (first is inputs or (same and parts_with(first, [inputs]) == {0}))
