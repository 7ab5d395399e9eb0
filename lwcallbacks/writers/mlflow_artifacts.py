"""Checkpoints as artifacts of an MLflow run.

    store = MlflowStore(logger.experiment, logger.run_id)
    receipt = store.deliver(version, Path("artifacts/held/4f2a/epoch=3.ckpt"))
    receipt.address                            # "runs:/<run id>/model/00000120-4f2a/epoch=3.ckpt"

A version is the artifact <name>/<step>-<id>/<file>, with its aliases and metadata in <file>.json beside it. For each
alias a tag <name>/<alias> of the run says where the file is that carries it now. Of a checkpoint at an address MLflow
gets the JSON alone, and the tags have the address.
"""

from __future__ import annotations

import zlib
from pathlib import Path, PurePosixPath
from typing import Any

from lwcallbacks.artifacts import Gone, Receipt, Store, Version
from lwcallbacks.artifacts.store import MOVING
from lwcallbacks.artifacts.version import plain
from lwcallbacks.disk import folder_of

ALLOWED = r"a-zA-Z0-9_. -"  # and "/", in names of images and metrics
MAX_KEY = 120  # a key is part of a file's name, beside some 100 characters of MLflow's own


class MlflowStore(Store):
    """Delivers into a run by its client. Used from one thread at a time.

    Args:
        client: an MlflowClient.
        run_id: the run.
        refusal: why nothing can be delivered here at all; see `writers.base.uploads_itself`.
    """

    name = "mlflow"

    def __init__(self, client: Any, run_id: str, *, refusal: str | None = None) -> None:
        self._client = client
        self._run_id = run_id
        self._refusal = refusal

    def deliver(self, version: Version, content: Path | None) -> Receipt:
        place, name = _place(version), PurePosixPath(version.path.rstrip("/")).name
        if content is not None:
            self._send(content, place, name)
        facts = {"id": version.id, "path": version.path, "digest": version.digest, "size": version.size}
        described = {"type": "model", "aliases": version.aliases, "metadata": version.metadata, **facts}
        self._client.log_dict(self._run_id, plain(described), f"{place}/{name}.json")
        where = version.path if content is None else f"{place}/{name}"
        for alias in version.aliases:  # last: they lead to what is there
            self._client.set_tag(self._run_id, _tag(version, alias), where)
        return Receipt("delivered", f"runs:/{self._run_id}/{place}/{name}")

    def drop(self, version: Version, address: str) -> str:
        from mlflow.exceptions import MlflowException
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        if self.retention is not None:
            return f"MLflow cannot delete it in {self.retention}, only at once"
        place = _place(version)
        if address and not address.startswith(f"runs:/{self._run_id}/"):
            return "it is of another run"
        if not address and not self._client.list_artifacts(self._run_id, place):
            return "it is not there"
        run = self._client.get_run(self._run_id)
        tags = {tag for tag, where in run.data.tags.items() if where == version.path or where.startswith(f"{place}/")}
        ours = {_tag(version, alias) for alias in version.aliases if alias not in MOVING}
        if others := sorted(tags - ours):
            return f"it is {', '.join(map(repr, others))}"
        try:
            if used := [m for m in self._client.search_model_versions(f"run_id='{self._run_id}'") if place in m.source]:
                return f"it is version {used[0].version} of the registered model {used[0].name!r}"
        except MlflowException as error:
            return f"MLflow does not say whether a registered model uses it: {error}"
        try:
            files: Any = get_artifact_repository(run.info.artifact_uri)
            files.delete_artifacts(place)
        except (NotImplementedError, MlflowException) as error:
            return f"MLflow cannot delete files there: {error!r}"
        for tag in sorted(tags):
            self._client.delete_tag(self._run_id, tag)
        return "deleted"

    def refuses(self, version_path: str) -> str | None:
        return self._refusal

    def _send(self, content: Path, place: str, name: str) -> None:
        if links := [path for path in (content, *sorted(content.rglob("*"))) if path.is_symlink()]:
            raise Gone(f"{links[0]} is a link, and MLflow would take what it leads to")
        if not content.exists():
            raise Gone(f"{content} is not there")
        if content.is_dir():
            self._client.log_artifacts(self._run_id, str(content), f"{place}/{name}")
        else:
            self._client.log_artifact(self._run_id, str(content), place)


def _place(version: Version) -> str:
    step = version.metadata.get("step")
    return f"{key_of(version.name)}/{f'{step:08d}-' if isinstance(step, int) else ''}{version.id}"


def _tag(version: Version, alias: str) -> str:
    return f"{key_of(version.name)}/{key_of(alias)}"


def key_of(key: str) -> str:
    """The key as MLflow allows it: letters, digits, `_`, `-`, `.`, blanks and "/", at most 120 characters."""
    safe = folder_of(key, ALLOWED)
    return safe if len(safe) <= MAX_KEY else f"{safe[: MAX_KEY - 9].rstrip('/ .')}-{zlib.crc32(key.encode()):08x}"
