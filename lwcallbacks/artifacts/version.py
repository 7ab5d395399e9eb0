"""What one save is."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any


@dataclass(frozen=True)
class Version:
    """One saved checkpoint, as it was at the moment of saving.

    Args:
        id: unlike that of any other version, of this run or another one.
        name: the artifact that it is a version of.
        path: where the Trainer has saved it: an absolute path, or an address such as "s3://bucket/epoch=3.ckpt".
        aliases: what finds it, such as "latest", "best", "epoch-3".
        metadata: the facts of the save; plain JSON, see `plain`.
        content: where it is held, relative to the ledger's folder; None for an address, and where nobody keeps it.
        digest: "sha256:" and 64 digits, of the content; see `holding.digest_of`. None until it is worked out.
        size: bytes of the content.
    """

    id: str
    name: str
    path: str
    aliases: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    content: str | None = None
    digest: str | None = None
    size: int | None = None

    @property
    def is_remote(self) -> bool:
        """Whether it is at an address, and no file of this machine."""
        return "://" in self.path

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"aliases": list(self.aliases)}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Version:
        """The version that `to_json` has described.

        Raises:
            ValueError: it is no such description.
        """
        kinds = {"id": str, "name": str, "path": str, "aliases": list, "metadata": dict}
        optional = {"content": str, "digest": str, "size": int}
        for key in (f.name for f in fields(cls)):
            value = found.get(key)
            if not isinstance(value, kinds.get(key, optional.get(key, object))) and not (
                value is None and key in optional
            ):
                raise ValueError(f"found {key}={value!r} in the description of a version")
        values = {key: found[key] for key in (*kinds, *optional)} | {"aliases": tuple(map(str, found["aliases"]))}
        return cls(**values)


def plain(value: Any) -> Any:
    """A value as JSON has it: dicts, lists, text, numbers that are finite. Other numbers become "inf", "-inf", "nan".

    >>> plain({"loss": float("inf"), "lr": (0.1, None)})
    {'loss': 'inf', 'lr': [0.1, None]}
    """
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else str(value)
        case Mapping():
            return {str(key): plain(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [plain(item) for item in value]
    item = getattr(value, "item", None)  # a scalar of numpy or torch
    if callable(item) and getattr(value, "ndim", 1) == 0:
        return plain(item())
    return str(value)


def dumps(value: Any) -> str:
    """One line of JSON."""
    return json.dumps(plain(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
