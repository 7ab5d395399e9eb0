"""The words of the errors: what was looked for, and what to write. What was there is told by `Step.describe`."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from lwcallbacks.capture.look import describe, names_of, part
from lwcallbacks.capture.names import BATCH_INDEX, KEYS
from lwcallbacks.capture.source import Extract, Source
from lwcallbacks.capture.tensors import are_strings, has_samples, is_field

_CALLS = 3
_STRINGS = "strings cannot be counted: map them to class indices"


def place(field: str, extract: Extract | None) -> str:
    """A field, and where it was said to be."""
    return field if extract is None else f"{field}={_named(extract) if callable(extract) else repr(extract)}"


def _named(function: Any) -> str:
    """A function by its name and line, which its repr lacks."""
    if isinstance(function, partial):
        return f"partial({_named(function.func)})"
    code = getattr(function, "__code__", None)
    where = "" if code is None else f" ({Path(code.co_filename).name}:{code.co_firstlineno})"
    return f"{getattr(function, '__name__', type(function).__name__)}{where}"


def calls(name: str | None, outputs: Sequence[Any]) -> str:
    """What the calls of a module returned; the last ones, where there were many."""
    told = ", ".join(map(describe, outputs[-_CALLS:]))
    more = f" and {len(outputs) - _CALLS} more before" if len(outputs) > _CALLS else ""
    return f"{called(name)} returned {told}{more}"


def called(name: str | None) -> str:
    """A call of the module, or of the submodule of that name, as it stands in a step."""
    return f"self{'' if name is None else f'.{name}'}(x)"


def no_tensor(field: str, extract: Extract | None, found: Any, code: str = "") -> str:
    """What was found cannot be taken; `code` is how a function would get it, as `batch[1]`."""
    told = f"{place(field, extract)} gives {describe(found)}, expected a tensor"
    function = f"{field}=lambda outputs, batch{', returned' if code.startswith('returned') else ''}: "
    if are_strings(found) and field == "ids":
        how = f"{function}torch.tensor([names.index(name) for name in {code or '...'}])"
        return f"{told} of integers; give each string its position in a list that stays the same, as in {how}"
    if are_strings(found):
        return f"{told}; {_STRINGS}, as in {function}torch.tensor([classes.index(name) for name in {code or '...'}])"
    if isinstance(found, (list, tuple)) and found and all(isinstance(entry, Tensor) for entry in found):
        return f"{told}; make one tensor of it, as in {function}{_one_of(found, code or '...')}"
    if named := [name for name, value in names_of(found).items() if has_samples(value)]:
        return f"{told}; take a part of it, as in {function}{part_code(code or '...', found, named[0])}"
    return told


def _one_of(tensors: Sequence[Tensor], code: str) -> str:
    shapes = {tuple(tensor.shape) for tensor in tensors}
    if len(tensors) > 1 and len(shapes) == 1:
        return f"torch.stack({code})"
    joins = len(tensors) > 1 and len({shape[1:] for shape in shapes}) == 1
    return f"torch.cat({code})" if joins else f"{code}[0]"


def part_code(code: str, container: Any, name: Any) -> str:
    """How a function would get the part of that key or attribute."""
    has_keys = isinstance(container, (Mapping, list, tuple)) and not hasattr(container, "_fields")
    return f"{code}[{name!r}]" if has_keys or not str(name).isidentifier() else f"{code}.{name}"


def no_key(field: str, key: str, there: Sequence[Any]) -> str:
    """A key that neither the step's output, nor what the forward call returned, nor the batch has."""
    told = f"{field}={key!r} is no key of the step's output, of what self(x) returned, or of the batch"
    close = _did_you_mean(key, there)
    if close or not _meant(field, there):
        return f"{told}{close}"
    return f"{told}, expected one that is there, as {field}={_best(field, there)!r}"


def no_submodule(forward: str | None, unknown: Mapping[str, Sequence[str]]) -> str:
    """That `forward` names no submodule, and which one it may mean."""
    if forward is None or forward not in unknown:
        return ""
    return f"forward={forward!r} is no submodule of the module{_did_you_mean(forward, unknown[forward])}; "


def no_function(field: str, name: str) -> str:
    """A name with a dot that is neither a key nor a function."""
    return f"{field}={name!r} is no key of the step's output or of the batch, and no function to import"


def no_index(field: str, index: int, parts: Any) -> str:
    """A part of the batch that is not there."""
    if isinstance(parts, (tuple, list)):
        found = f"the batch has {len(parts)} parts, {field}=0 to {field}={len(parts) - 1}" if parts else "it is empty"
    else:
        named = [name for name, value in names_of(parts).items() if has_samples(value)]
        found = f"the batch is a {type(parts).__name__} without a part of that index"
        found += f"; name a key of it, as in {field}={_best(field, named)!r}" if _meant(field, named) else ""
    return f"{field}={index}: {found}"


def raised(field: str, extract: Extract, error: Exception, there: Sequence[Any]) -> str:
    """A function of the user's raised `error`; `there` are the names that it could have asked for."""
    keys = error.args if isinstance(error, (KeyError, AttributeError)) else ()
    name = getattr(error, "name", None) if isinstance(error, AttributeError) else next(iter(keys), None)
    hint = _did_you_mean(name, there) if isinstance(name, str) else ""
    if isinstance(error, TypeError) and _is_of_the_call(error):
        hint = "; expected a function of two, (outputs, batch), or of three, (outputs, batch, returned)"
    return f"{place(field, extract)} raised {type(error).__name__}: {error}{hint}"


def _is_of_the_call(error: Exception) -> bool:
    """Whether no line of the function's own was run."""
    return error.__traceback__ is not None and error.__traceback__.tb_next is None


_FUNCTION = re.compile(r"(\w+)=lambda outputs, batch: ([\w.(]*?)(\.\.\.|batch\[[01]\])")


def filled(text: str, codes: Mapping[str, str]) -> str:
    """An advice with a function of a field, which says where that field is; "..." where only the user knows it.

    >>> filled("write targets=lambda outputs, batch: batch[1].argmax(1)", {"targets": "batch['label']"})
    "write targets=lambda outputs, batch: batch['label'].argmax(1)"
    >>> filled("write preds=lambda outputs, batch: ....squeeze(-1)", {"preds": "returned"})
    'write preds=lambda outputs, batch, returned: returned.squeeze(-1)'
    """

    def fill(found: re.Match[str]) -> str:
        field, begin, _ = found.groups()
        code = codes.get(field) or "..."
        returned = ", returned" if code.startswith("returned") else ""
        return f"{field}=lambda outputs, batch{returned}: {begin}{code}"

    return _FUNCTION.sub(fill, text)


def function_of_three(field: str, outputs: Any, returned: Any) -> str:
    """How to get at what the forward call returned, where the step's output does not have it all."""
    if returned is None and (has_samples(outputs) or names_of(outputs)):
        return ""
    told = "what self(x) returned is given to a function of three"
    return f"; {told}: write {field}=lambda outputs, batch, returned: ..."


def advice(field: str, source: Source, there: Mapping[str, Any], stage: str | None) -> str:
    """What to write for a field that is nowhere to be found, from what is `there` by place."""
    how = "" if field == "loss" else " (a key, an index into the batch, or a function of outputs and batch)"
    passed_over = _passed_over(field, there)
    # What has the usual name is there: to be told to return it would be no help.
    ways = f"pass {field}=" if passed_over and field != "loss" else _ways(field, source)
    ways += _example(field, there) if ways.endswith("=") else ""
    told = [*passed_over, f"To fix it, {ways}{how}"]
    if stage is not None:
        others = "val" if stage != "val" else "train"
        told.append(f"If {stage} has no {field}, leave the stage out, as in stages=({others!r},)")
    return ". ".join(told)


def _ways(field: str, source: Source) -> str:
    keys = " or ".join(repr(key) for key in KEYS.get(field, (field,))[:2])
    if field == "preds" and source.forward is not None:
        return f"let forward={source.forward!r} name a submodule that the step calls, or pass preds="
    return {
        "preds": f"return a dict with {keys} from the step, call self(x) in it, name the submodule that is called"
        " (forward='net' for self.net(x)), or pass preds=",
        "targets": f"return a dict with {keys} from the step, let the batch be (x, y), or pass targets=",
        "inputs": f"let the batch be (x, y) or a dict with {keys}, or pass inputs=",
        "loss": "return the loss, or a dict with 'loss', from the step",
        "ids": "tell where the id of each row is: pass ids=",
    }.get(field, f"return a dict with {keys} from the step, let the batch have it, or say where {field} is")


def _example(field: str, there: Mapping[str, Any]) -> str:
    """The name to pass, where something there may be meant."""
    places = [value for name, value in there.items() if (field != "preds") == (name == "batch")]
    named = [name for place in places for name, value in names_of(place).items() if has_samples(value)]
    return f"{_best(field, named)!r}" if _meant(field, named) else ""


def _meant(field: str, names: Sequence[Any]) -> list[str]:
    """Those of the names that are no usual names of another field."""
    others = {name for other, usual in KEYS.items() if other != field for name in usual}
    return [name for name in names if isinstance(name, str) and name not in others]


def _best(field: str, names: Sequence[Any]) -> str:
    """Of the names that may be meant, the one that is most like a usual one."""
    usual = KEYS.get(field, (field,))
    likeness = difflib.SequenceMatcher
    return max(_meant(field, names), key=lambda name: max(likeness(None, name, other).ratio() for other in usual))


def _passed_over(field: str, there: Mapping[str, Any]) -> list[str]:
    """What has a usual name and was not taken, with the reason."""
    named: list[tuple[str, str | int, Any]]
    named = [(where, name, part(value, name)) for where, value in there.items() for name in KEYS.get(field, (field,))]
    batch, index = there.get("batch"), BATCH_INDEX.get(field)
    if index is not None and isinstance(batch, (tuple, list)) and index < len(batch):
        named.append(("batch", index, batch[index]))
    codes = [(part_code(where, there[where], name), name, value) for where, name, value in named]
    return [f"{code} is {told}" for code, name, value in codes if (told := _reason(field, name, value, code))]


def _reason(field: str, name: str | int, value: Any, code: str) -> str:
    if value is None or has_samples(value):
        return ""
    if is_field(value) or isinstance(value, (int, float)):
        return f"one number and no batch of samples; {field}={name!r} would take it" if isinstance(name, str) else ""
    return no_tensor(field, name, value, code).partition(" gives ")[2]


def _did_you_mean(name: str, there: Sequence[Any]) -> str:
    names = {other.lower(): other for other in there if isinstance(other, str)}
    close = difflib.get_close_matches(name.lower(), names, 1)
    return f" (did you mean {names[close[0]]!r}?)" if close else ""
