"""A version that W&B has: what it says of itself, and its files.

    found = find("entity/project/name:best")
    found.address, found.digest, found.size          # "entity/project/name:v3", "sha256:...", bytes
    found.fetch(Path("part/content"))

Files are downloaded here and not by `wandb.Artifact.download`: that follows redirects to any host, copies references
to files of this machine, and does not look at what has come.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lwcallbacks.artifacts.download import CHUNK, download
from lwcallbacks.readers.inside import file_in

MOST_FILES = 100_000


@dataclass(frozen=True)
class RemoteFile:
    """A file of a version. `md5` is W&B's own digest of it, in base 64, or empty."""

    name: str
    size: int
    url: str
    md5: str


@dataclass(frozen=True)
class Remote:
    """A version at W&B.

    Args:
        artifact: the client's own object.
        address: with the version's number, "entity/project/name:v3".
        digest: "sha256:" and 64 digits where lwcallbacks has delivered it; else None.
        identity: what tells it from all other versions: W&B never changes what one has.
        files: names, as the server gives them; anything.
        is_secure: the server is asked by https.
    """

    artifact: Any
    address: str
    digest: str | None
    identity: str
    files: tuple[RemoteFile, ...]
    is_secure: bool

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)

    def fetch(self, folder: Path, tick: Callable[[int], object]) -> None:
        """Make a folder with all files.

        Raises:
            ValueError: a name leads out of the folder, or comes twice; a file is not what W&B says.
            OSError: as `download`.
        """
        folder.mkdir()
        for file in self.files:
            path = file_in(folder, file.name)
            path.parent.mkdir(parents=True, exist_ok=True)
            addresses = iter([file.url])  # another one only when that does not work: each is a question to the server
            download(
                lambda file=file, addresses=addresses: next(addresses, None) or self._address(file.name),  # type: ignore[misc]
                path,
                file.size,
                is_secure=self.is_secure,
                tick=tick,
            )
            if file.md5 and self.digest is None and _md5(path) != file.md5:
                raise ValueError(f"{file.name[:80]!r} is not what W&B says: the MD5 is another one than {file.md5}")

    def _address(self, name: str) -> str:
        return str(next(iter(self.artifact.files(names=[name], per_page=1))).direct_url)


def find(name: str) -> Remote:
    """Ask W&B for a version by "entity/project/name:alias"; what is left out is the client's default.

    Raises:
        LookupError: there is none, or no server, or nobody is logged in.
        ValueError: it has names that lead elsewhere, or refers to files that W&B does not have.
    """
    import wandb

    try:
        api = wandb.Api()
        artifact = api.artifact(name)
        listed = [_file(file) for file, _ in zip(artifact.files(), range(MOST_FILES), strict=False)]
        server = str(api.settings["base_url"])
    except Exception as error:  # the client raises many kinds, plain Exception among them
        raise LookupError(
            f"W&B gives no version {name!r}: {' '.join(str(error).split())[:300]}. Expected one that is there, as in "
            "'wandb://entity/project/name:best' (see: wandb login)"
        ) from error
    address = f"{artifact.entity}/{artifact.project}/{artifact.name.partition(':')[0]}:{artifact.version}"
    _check(address, listed)
    digest = dict(artifact.metadata).get("digest")
    return Remote(
        artifact,
        address,
        digest if isinstance(digest, str) and "lwcallbacks_id" in artifact.metadata else None,
        f"{server} {artifact.id}",
        tuple(listed),
        urlsplit(server).scheme == "https",
    )


def use(found: Remote) -> None:
    """Note in the run that is active that it uses the version; W&B can't do so offline."""
    import wandb

    run = wandb.run
    if run is not None and not run.offline and not run.disabled:
        run.use_artifact(found.artifact)


def _file(file: Any) -> RemoteFile:
    return RemoteFile(str(file.name), int(file.size), str(file.direct_url), str(getattr(file, "md5", None) or ""))


def _check(address: str, files: list[RemoteFile]) -> None:
    names = {file.name for file in files}
    if not files or len(names) < len(files):
        raise ValueError(f"{address} has {'one file twice' if files else 'no files'}, expected a checkpoint")
    for file in files:
        file_in(Path(), file.name)
        if file.size < 0:
            raise ValueError(f"{address}: {file.name[:80]!r} has {file.size} bytes, expected a size")
        if any(parent in names for parent in _parents(file.name)):
            raise ValueError(f"{address}: found the file {file.name[:80]!r}, which is a folder, too")
        scheme = urlsplit(file.url).scheme
        if scheme not in ("http", "https"):
            raise ValueError(
                f"{address}: {file.name[:80]!r} is not at W&B, which only refers to {file.url[:200]!r}. If you trust "
                "who wrote that, give that address to the Trainer yourself"
            )


def _parents(name: str) -> list[str]:
    parts = name.split("/")
    return ["/".join(parts[:end]) for end in range(1, len(parts))]


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.md5(usedforsecurity=False)
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return base64.b64encode(digest.digest()).decode()
