"""A saved checkpoint as a path of this machine: from W&B, or from a run's own ledger."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lwcallbacks.artifacts import ledgers
from lwcallbacks.artifacts.cache import Cache
from lwcallbacks.artifacts.download import progress
from lwcallbacks.artifacts.holding import NotHeld, digest_of, hold
from lwcallbacks.artifacts.trust import needs_code
from lwcallbacks.warn import warn

SCHEME = "wandb://"
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_origins: dict[str, str] = {}  # the paths that this process has been given, and the versions that they are of


def checkpoint_path(
    address: str | os.PathLike[str],
    alias: str | None = None,
    *,
    cache: str | os.PathLike[str] | None = None,
    max_bytes: int = 10 * 2**30,
    weights_only: bool = True,
) -> str:
    """The path of a checkpoint that `CheckpointArtifact` has delivered, or holds for later; for ``ckpt_path=``.

    Its content is downloaded if need be, and is what was saved: the SHA-256 that was taken at the save is worked out
    again at each call. Of a version from elsewhere, such as `WandbLogger(log_model=True)` delivers, W&B's own MD5 is.
    Where a W&B run is active, the version becomes an input of that run.

    To go on with a run and its curves, give the logger the run's id, too. The checkpoint has the epoch and the step
    that training goes on with::

        logger = WandbLogger(id="1a2b3c4d", resume="allow")
        Trainer(logger=logger, ...).fit(model, ckpt_path=lw.checkpoint_path("wandb://me/digits/model-1a2b3c4d:latest"))

    Args:
        address: ``"wandb://entity/project/name:alias"``. Without the entity, or both, it is the client's default:
            ``"wandb://name:best"``. Or the folder of a run, for one whose versions are still on this machine.
        alias: with a run's folder, which version: ``"best"``, ``"latest"``, ``"epoch-3"``. Where the run has several
            artifacts, ``"name:best"``.
        cache: a folder to keep downloads in, that only you can write to. By default ``$LWCALLBACKS_CACHE``, or
            ``lwcallbacks/checkpoints`` in ``$XDG_CACHE_HOME`` or ``~/.cache``.
        max_bytes: the most that the folder may hold. What was used least recently goes first, never what another
            process has asked for and still runs. What this process has asked for goes last.
        weights_only: refuse a checkpoint that could run code when it is loaded. False takes any: loading it can then
            run whatever its author wants. Trainers of Lightning 2.6 and later have an argument of that name, too.

    Returns:
        The path of a file, or of a folder of shards. Do not write to it.

    Raises:
        LookupError: there is no such version, or nobody is logged in.
        ValueError: it is refused. It has code in it and ``weights_only`` is True; the digest is another one; a name
            leads out of its folder; the server redirects to another host; a reference, a link; no room in the cache.
        OSError: the server cannot be reached, or the disk is full.

    >>> checkpoint_path("wandb://digits/model")
    Traceback (most recent call last):
    ValueError: lw.checkpoint_path: found 'wandb://digits/model', expected an alias or a version, as in \
'wandb://digits/model:best'
    """
    told = os.fspath(address)
    try:
        kept = Cache(_folder(cache), max_bytes)
        if told.startswith(SCHEME):
            path, exact, used = _from_wandb(told if alias is None else f"{told}:{alias}", kept)
        elif alias is None:
            raise ValueError(
                f"found {told!r}, expected '{SCHEME}entity/project/name:alias', or the folder of a run and an alias, "
                f"as in lw.checkpoint_path({told!r}, 'best')"
            )
        else:
            path, exact, used = _from_ledger(Path(told), alias, kept)
        asked_for = needs_code(path) if weights_only else None
    except LookupError as error:
        raise LookupError(f"lw.checkpoint_path: {error}") from error
    except (ValueError, NotHeld) as error:
        raise ValueError(f"lw.checkpoint_path: {error}") from error
    if asked_for is not None:
        raise ValueError(
            f"lw.checkpoint_path: {told} could run code when it is loaded: {asked_for}. Expected tensors and plain "
            "values. If it is a harmless class, write torch.serialization.add_safe_globals([...]) before. If you trust "
            "whoever wrote the checkpoint with all that you can do here, write weights_only=False"
        )
    used()
    _origins[str(path)] = exact
    return str(path)


def resolve(path: Any, **kwargs: Any) -> Any:
    """What `checkpoint_path` gives for an address of W&B; anything else as it is.

    For the callback: `strategy.load_checkpoint(path)` is the one place at which a Trainer first looks at `ckpt_path`,
    and comes after every callback's `setup`.
    """
    return checkpoint_path(path, **kwargs) if isinstance(path, str) and path.startswith(SCHEME) else path


def origin(path: str | os.PathLike[str]) -> str | None:
    """The version that `checkpoint_path` has given a path of to this process, as "wandb://entity/project/name:v3"."""
    return _origins.get(os.fspath(path))


def _from_wandb(address: str, cache: Cache) -> tuple[Path, str, Callable[[], None]]:
    from lwcallbacks.artifacts import wandb_fetch

    name = address.removeprefix(SCHEME)
    where, _, version = name.partition(":")
    if not version:
        raise ValueError(f"found {address!r}, expected an alias or a version, as in '{SCHEME}{where}:best'")
    if not all(where.split("/")) or where.count("/") > 2:
        raise ValueError(f"found {address!r}, expected '{SCHEME}entity/project/name:alias'")
    found = wandb_fetch.find(name)
    exact = f"{SCHEME}{found.address}"
    key = _key(found.digest) if found.digest is not None else hashlib.sha256(found.identity.encode()).hexdigest()

    def fetch(folder: Path) -> None:
        with progress(found.address, found.size) as tick:
            found.fetch(folder, tick)

    try:
        path = _kept(cache, key, found.size, fetch, found.digest, exact)
    except ValueError as error:
        raise ValueError(f"{exact}: {error}") from error
    return path, exact, lambda: wandb_fetch.use(found)


def _from_ledger(folder: Path, alias: str, cache: Cache) -> tuple[Path, str, Callable[[], None]]:
    version, content, address = ledgers.find(folder, alias)
    if content is None:
        if not address:
            raise LookupError(f"the content of {alias!r} of {folder} is no longer on this machine, nor at W&B")
        return _from_wandb(f"{SCHEME}{address}", cache)
    digest, size = (version.digest, version.size) if version.digest else digest_of(content)

    def link(target: Path) -> None:
        hold(content, target)  # the run may let go of what it holds while this process still loads it

    path = _kept(cache, _key(digest), size or 0, link, digest, f"{folder}:{alias}")
    return path, f"{folder}:{alias}", lambda: None


def _kept(cache: Cache, key: str, size: int, fetch: Callable[[Path], None], digest: str | None, address: str) -> Path:
    """The content from the cache; fetched once more where somebody has changed it since it was."""
    new: list[Path] = []

    def fill(folder: Path) -> dict[str, Any]:
        fetch(folder)
        path, found = _locate(folder, digest)
        new.append(path.relative_to(folder))
        return {"address": address, "digest": found}

    while True:
        content = cache.get(key, size, fill)
        if new:
            return content / new[0]
        try:
            return _locate(content, digest or cache.facts(key)["digest"])[0]
        except (ValueError, LookupError, OSError, NotHeld) as error:
            warn(f"checkpoint_path: fetched once more, since {error}")
            cache.drop(key)


def _locate(folder: Path, digest: str | None) -> tuple[Path, str]:
    """The one file, or folder of shards, that is in a folder; with its digest.

    Raises:
        ValueError: it has another digest than expected, or there is a link.
        NotHeld: there is a link deeper down.
    """
    inside = [] if folder.is_symlink() else list(folder.iterdir())
    if any(path.is_symlink() for path in (folder, *inside)):
        raise ValueError(f"{folder} has a link in it, expected files")
    candidates = [*(inside if len(inside) == 1 else []), folder]
    digests = []
    for path in candidates:
        found, _ = digest_of(path)
        if found == digest or (digest is None and (path.is_file() or path == folder)):
            return path, found
        digests.append(found)
    raise ValueError(f"found the digest {' or '.join(digests)}, expected {digest}: it is not what was saved")


def _key(digest: str) -> str:
    found = _DIGEST.fullmatch(digest)
    if found is None:
        raise ValueError(f"found the digest {digest[:80]!r}, expected 'sha256:' and 64 hexadecimal digits")
    return found[1]


def _folder(cache: str | os.PathLike[str] | None) -> Path:
    if cache is None:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
        cache = os.environ.get("LWCALLBACKS_CACHE") or os.path.join(base, "lwcallbacks", "checkpoints")
    return Path(cache).expanduser().absolute()
