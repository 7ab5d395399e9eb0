"""Checkpoints as versions of W&B artifacts.

    store = WandbStore(WandbLogger(project="digits").experiment)
    receipt = store.deliver(version, Path("artifacts/held/4f2a/epoch=3.ckpt"))
    receipt.address                                     # "entity/project/name:v3"

What is delivered is the only entry of its artifact, a file or a folder, under the name that it was saved by. W&B takes
the content from where it is and makes no copy. Its metadata are those of the version, with "lwcallbacks_id", "digest"
and "size".

Online a version is delivered when W&B has all of it: aliases move at that moment, and not before. Offline it goes into
the file of the run, which refers to the content: that has to stay where it is until `wandb sync` has sent it. Whether
it has, only the server knows: `resumed` finds out, and delivers what is missing.
"""

from __future__ import annotations

import json
import re
import threading
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Any

from lwcallbacks.artifacts import Gone, Receipt, Store, Version
from lwcallbacks.artifacts.store import MOVING
from lwcallbacks.artifacts.version import plain

ID = "lwcallbacks_id"
NEEDS = {"s3": ("boto3", "aws"), "gs": ("google.cloud.storage", "gcp")}
"""What the client has to have to refer to an address, and its extra that brings it."""
SAME = {"gcs": "gs", "s3a": "s3"}
"""Schemes that have another name at W&B."""
MEMBERSHIPS = """
query FetchLinkedArtifacts($artifactID: ID!) {
  artifact(id: $artifactID) {
    artifactMemberships { edges { node { artifactCollection { __typename name } } } }
  }
}
"""


class WandbStore(Store):
    """Delivers into a run of W&B, which stays open. `deliver` is called from one thread at a time.

    Args:
        run: the run, such as a WandbLogger's `experiment`.
        patience: seconds that `deliver` waits for a version until it raises. Called again, it goes on waiting.
        refusal: why nothing can be delivered here at all; see `uploads_itself`.
    """

    name = "wandb"
    at_once = 4

    def __init__(
        self,
        run: Any,
        *,
        patience: float = 600.0,
        refusal: str | None = None,
    ) -> None:
        self.is_live = self.can_drop = not run.offline
        self.run = "/".join((run.entity or "", run.project or "", run.id))
        self._run = run
        self._patience = patience
        self._refusal = refusal
        self._api: Any = None
        self._asking = threading.Lock()
        self._known: set[str] = set()
        """The artifacts of which is known that they have no version but those that were delivered here."""
        self._under_way: dict[str, Future[Any]] = {}
        """By the ids of the versions that W&B has been given, the artifacts when they are there."""
        self._begun: set[str] = set()
        """Those of them that it was given by `begin`: it can have no other of that id."""

    def begin(self, version: Version, content: Path) -> None:
        # The client uploads versions of one artifact one after the other, in the order in which it is given them.
        if not self._run.offline:
            artifact = self._log(version, content)
            self._begun.add(version.id)
            self._under_way[version.id] = _in_background(artifact.wait)

    def deliver(self, version: Version, content: Path | None) -> Receipt:
        if self._run.offline:
            self._log(version, content)
            return Receipt("staged", str(Path(self._run.dir).parent))
        try:
            artifact = self._delivered(version, content)
        except Exception:
            self._known.discard(version.name)  # it may be there all the same
            raise
        if version.id not in self._begun:
            self._known.add(version.name)
        return Receipt("delivered", artifact.qualified_name)

    def drop(self, version: Version, address: str) -> str:
        import wandb

        project = f"{self._run.entity}/{self._run.project}"
        if address and not address.startswith(f"{project}/"):
            return f"it is not of {project}"
        if not address:  # of a run before this one
            found = self._with_id(version)
            if not found:
                return "it is not there"
            address = found[0].qualified_name
        try:
            artifact = self._asked().artifact(address)
        except wandb.errors.CommError as error:
            if "not found" in str(error):
                return "deleted"
            raise
        if (why := self._is_kept(version, artifact)) is not None:
            return why
        if self.retention is None:
            artifact.delete(delete_aliases=True)
            return "deleted"
        artifact.ttl = self.retention
        artifact.save()
        taken = self._asked().artifact(address).ttl
        return f"W&B deletes it after {taken}" if taken == self.retention else "W&B does not take a time to live here"

    def refuses(self, version_path: str) -> str | None:
        scheme, is_address, rest = version_path.partition("://")
        scheme = SAME.get(scheme, scheme)
        if self._refusal is not None or not is_address:
            return self._refusal
        if scheme in ("file", "local"):
            return f"W&B only notes the address of {version_path} and uploads nothing: write {rest!r}"
        module, extra = NEEDS.get(scheme, ("wandb", ""))
        if not _is_there(module):
            return f"W&B can refer to {version_path} only with {module}: write pip install 'wandb[{extra}]'"
        return None

    def _delivered(self, version: Version, content: Path | None) -> Any:
        """The version at W&B, where it is once."""
        if version.id not in self._under_way:
            if there := self._found(version):
                return there[0]
            artifact = self._log(version, content)
            self._under_way[version.id] = _in_background(artifact.wait)
        artifact = self._wait(version.id)
        if artifact.metadata.get(ID) != version.id:  # the same content was saved before; the facts of this save are new
            artifact.metadata = _metadata(version)
            artifact.save()
        for twin in self._found(version) if version.id not in self._begun else ():
            if twin.id != artifact.id:  # W&B's process lives on when ours is killed, and has sent it meanwhile
                twin.delete(delete_aliases=True)
        return artifact

    def _log(self, version: Version, content: Path | None) -> Any:
        """Hand the version over to W&B.

        Raises:
            Gone: it can't be taken, now or later.
        """
        try:
            return self._run.log_artifact(_artifact(version, content), aliases=list(version.aliases))
        except (ValueError, TypeError) as error:
            if isinstance(error, OSError | json.JSONDecodeError):  # the server's answer, and not the version
                raise
            raise Gone(f"W&B does not take it: {error}") from error

    def _wait(self, id: str) -> Any:
        """The version, once all of it is there.

        Raises:
            TimeoutError: it is still on its way.
            Exception: W&B has given it up; the next call logs it again.
        """
        wait([self._under_way[id]], self._patience)
        if not self._under_way[id].done():
            raise TimeoutError(f"it is still being uploaded to W&B after {self._patience:.0f} s")
        under_way = self._under_way.pop(id)
        if under_way.exception() is not None:
            self._begun.discard(id)
        return under_way.result()

    def _found(self, version: Version) -> list[Any]:
        """The version where it is there already: from a process that has ended, or after an answer that was lost."""
        return [] if version.name in self._known else self._with_id(version)

    def _with_id(self, version: Version) -> list[Any]:
        """The versions of a run of this project that are this one."""
        name = f"{self._run.entity}/{self._run.project}/{artifact_name(version.name)}"
        try:
            versions = self._asked().artifacts("model", name)
            return [artifact for artifact in versions if artifact.metadata.get(ID) == version.id]
        except (ValueError, TypeError, AttributeError):  # what the clients raise where there is no such artifact
            return []

    def _is_kept(self, version: Version, artifact: Any) -> str | None:
        """Why a version must not be deleted, if it must not."""
        others = sorted(set(artifact.aliases) - (set(version.aliases) - set(MOVING)))
        if others:
            return f"it is {', '.join(map(repr, others))}"
        if artifact.metadata.get(ID) != version.id:
            return "a later save has the same content"
        if self._is_linked(artifact):
            return "it is linked to a registry"
        users = sorted({run.id for run in artifact.used_by()} - {self._run.id})
        return f"the run {users[0]} has used it" if users else None

    def _is_linked(self, artifact: Any) -> bool:
        if hasattr(type(artifact), "linked_artifacts"):  # of the artifact itself it would ask the server
            return bool(artifact.linked_artifacts)
        gql = import_module("wandb_gql").gql  # of the clients that cannot tell it otherwise
        answer = self._asked().client.execute(gql(MEMBERSHIPS), variable_values={"artifactID": artifact.id})
        edges = answer["artifact"]["artifactMemberships"]["edges"]
        return any(edge["node"]["artifactCollection"]["__typename"] == "ArtifactPortfolio" for edge in edges)

    def _asked(self) -> Any:
        """The client for questions. It has no memory of versions: each is asked for again."""
        import wandb

        with self._asking:
            if self._api is None:
                self._api = wandb.Api({"entity": self._run.entity, "project": self._run.project})
            return self._api


@contextmanager
def resumed(run_id: str, project: str | None = None, entity: str | None = None) -> Iterator[WandbStore]:
    """A store for what a run has left to deliver: online, into that run at W&B, which is made if it is not there.

    What `wandb sync` has delivered meanwhile is found, and not sent again.
    """
    import wandb

    settings = wandb.Settings(mode="online", silent=True, console="off")
    with wandb.init(entity=entity, project=project, id=run_id, resume="allow", settings=settings) as run:
        yield WandbStore(run)


def artifact_name(name: str) -> str:
    """The name as W&B allows it: letters, digits, `_`, `-` and `.` stay, the rest becomes dashes, at most 128.

    A name that is changed gets a checksum, which keeps two of them apart.

    >>> artifact_name("model-1a2b"), artifact_name("val/loss")
    ('model-1a2b', 'val-loss-e11eb9ce')
    """
    safe = re.sub(r"[^a-zA-Z0-9_.-]+", "-", name)[:128]
    return safe if safe == name and name else f"{safe[:119]}-{zlib.crc32(name.encode()):08x}"


def _artifact(version: Version, content: Path | None) -> Any:
    """The version as W&B takes it."""
    import wandb

    name = re.sub(r"[:\\]", "-", PurePosixPath(version.path.rstrip("/")).name)  # W&B refuses names like "a:b"
    artifact = wandb.Artifact(artifact_name(version.name), "model", metadata=_metadata(version))
    if content is None:
        scheme, _, rest = version.path.partition("://")
        artifact.add_reference(f"{SAME.get(scheme, scheme)}://{rest}", name=name)
    elif content.is_dir() and not content.is_symlink():
        for file in _files(content):
            _add(artifact, file, f"{name}/{file.relative_to(content).as_posix()}")
    else:
        _add(artifact, content, name)
    if not artifact.manifest.entries:  # of an address where nothing is, the client makes a version all the same
        raise Gone(f"there is nothing at {version.path}")
    return artifact


def _add(artifact: Any, file: Path, name: str) -> None:
    if file.is_symlink():
        raise Gone(f"{file} is a link, and W&B would upload what it leads to")
    # "immutable" makes no copy before the upload, `skip_cache` none after it.
    artifact.add_file(str(file), name=name, policy="immutable", skip_cache=True)


def _files(folder: Path) -> Iterator[Path]:
    """Everything in a folder that is no folder. Links are not followed."""
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.is_symlink():
            yield from _files(path)
        else:
            yield path


def _metadata(version: Version) -> dict[str, Any]:
    facts = {ID: version.id, "digest": version.digest, "size": version.size}
    return {**plain(version.metadata), **{name: fact for name, fact in facts.items() if fact is not None}}


def _in_background(work: Callable[[], Any]) -> Future[Any]:
    """What it will return. The client's own timeout is of no use: when it has passed, the upload is called off."""
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, name="lwcallbacks-wandb-wait", daemon=True).start()
    return future


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # a package above it
        return False
