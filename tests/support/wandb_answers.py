"""What a W&B server has, and what it answers to the GraphQL of the real client. See `support.wandb_server`."""

from __future__ import annotations

import base64
import itertools
import json
import re
import tempfile
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ENTITY = "someone"
NOW = "2026-01-01T00:00:00Z"
RENAMED = {
    "artifactID": "id", "artifact_id": "id", "projectName": "project", "runName": "run", "artifactTypeName": "type",
    "typeName": "type", "artifactCollectionName": "collection", "collectionName": "collection", "modelName": "project",
    "artifactId": "id",
}  # fmt: skip
"""Operations and versions of the client have several names for one thing."""
TYPES = {
    "Artifact": ("ttlDurationSeconds", "ttlIsInherited", "aliases", "tags", "historyStep"),
    "CreateArtifactInput": ("ttlDurationSeconds", "tags", "historyStep"),
    "Mutation": ("createRunFiles", "addAliases", "deleteAliases", "updateArtifact"),
    "Query": ("serverInfo",),
    "AddAliasesInput": ("artifactID", "aliases"),
}
"""Fields that an older client asks for before it uses them."""


@dataclass
class Version:
    """One version of an artifact. Its number and aliases are its own once it is committed."""

    id: str
    project: str
    collection: str
    type: str
    digest: str
    run: str
    metadata: dict[str, Any]
    wanted: list[str]
    """The aliases that it gets when it is committed."""
    ttl: int | None = None
    state: str = "PENDING"
    index: int | None = None
    aliases: list[str] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    """By their names, the names of their content below "blobs"."""
    manifest: str = ""
    """The name of the manifest below "blobs"."""
    used_by: list[str] = field(default_factory=list)
    links: list[tuple[str, str]] = field(default_factory=list)
    """Projects and collections of a registry that it is linked to."""

    @property
    def name(self) -> str:
        return f"{self.collection}:v{self.index}"


class Answers:
    """Runs, versions of artifacts and content. All is in memory, but for the content, which is in a folder."""

    def __init__(self, *, deduplicates: bool = True) -> None:
        self.deduplicates = deduplicates
        self.url = ""
        self.versions: list[Version] = []
        self.runs: dict[str, str] = {}
        """The projects of the runs, by their ids."""
        self.unknown: list[str] = []
        """Operations that the client asked for, and that are not answered here."""
        self.folder = Path(tempfile.mkdtemp(prefix="wandb-server-"))
        self._ids = itertools.count(1)
        self._lock = threading.RLock()

    def collection(self, name: str) -> list[Version]:
        """The committed versions of an artifact, oldest first."""
        found = [v for v in self.versions if v.collection == name and v.state == "COMMITTED"]
        return sorted(found, key=lambda v: v.index or 0)

    def version(self, name: str) -> Version:
        """That of a name such as "digits:best" or "digits:v3".

        Raises:
            KeyError: there is none.
        """
        found = self._find(name)
        if found is None:
            raise KeyError(name)
        return found

    def content(self, version: Version) -> dict[str, bytes]:
        """The files of a version, by their names."""
        return {name: self.blob(key).read_bytes() for name, key in version.files.items()}

    def blob(self, key: str) -> Path:
        return self.folder / key

    def _find(self, name: str) -> Version | None:
        collection, _, alias = name.partition(":")
        alias = alias or "latest"
        return next((v for v in self.collection(collection) if alias in (f"v{v.index}", *v.aliases)), None)

    def _by_id(self, identity: str) -> Version:
        return next(v for v in self.versions if v.id == identity)

    # What GraphQL is answered, by the names of operations. More is answered than was asked for.

    def answer(self, operation: str, query: str, variables: Mapping[str, Any]) -> Mapping[str, Any]:
        with self._lock:
            if "__type(" in query:
                asked = re.findall(r'(\w+): *__type\(name: *(?:"(\w+)"|\$typeName)\)', query)
                return {name: _type(of or variables["typeName"]) for name, of in asked}
            answer = getattr(self, f"on_{operation}", None)
            if answer is None:
                self.unknown.append(operation)
                raise ValueError(f"this server does not know {operation}")
            given = {**variables, **variables.get("input", {})}
            return dict(answer({RENAMED.get(name, name): value for name, value in given.items()}))

    def on_Viewer(self, of: Mapping[str, Any]) -> Mapping[str, Any]:
        viewer = {"id": "1", "entity": ENTITY, "username": ENTITY, "email": None, "flags": "{}", "admin": False}
        return {"viewer": {**viewer, "name": ENTITY, "deletedAt": None, "teams": _edges([]), "apiKeys": _edges([])}}

    on_GetDefaultEntity = on_GetViewer = on_Viewer

    def on_ServerFeaturesQuery(self, of: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"serverInfo": {"features": []}}

    def on_ServerInfo(self, of: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"serverInfo": {"cliVersionInfo": {"max_cli_version": "99.0.0"}, "latestLocalVersionInfo": None}}

    def on_RunStoppedStatus(self, of: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"project": {"run": {"stopped": False}}}

    def on_OrganizationCoreWeaveOrganizationID(self, of: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"entity": {"organization": None}}

    def on_RunResumeStatus(self, of: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"model": {**self._project(of["project"]), "bucket": self._run(of["name"])}}

    def on_UpsertBucket(self, of: Mapping[str, Any]) -> Mapping[str, Any]:
        name = of.get("name") or of["id"]
        inserted = name not in self.runs
        self.runs.setdefault(name, of.get("project") or "uncategorized")
        return {"upsertBucket": {"bucket": self._run(name), "inserted": inserted}}

    def on_Run(self, of: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"project": {**self._project(of["project"]), "run": self._run(of.get("name") or of["run"])}}

    def on_CreateRunFiles(self, of: Mapping[str, Any]) -> Mapping[str, Any]:
        files = [{"name": name, "uploadUrl": f"{self.url}/media/{of['run']}/{i}"} for i, name in enumerate(of["files"])]
        return {"createRunFiles": {"runID": of["run"], "uploadHeaders": [], "files": files}}

    def on_CreateArtifact(self, of: Mapping[str, Any]) -> Mapping[str, Any]:
        collection = of.get("collection") or of["artifactCollectionNames"][0]
        there = self.collection(collection)
        aliases = [alias["alias"] for alias in of.get("aliases") or []]
        same = next((v for v in there if v.digest == of["digest"]), None) if self.deduplicates else None
        if same is not None:
            self._move(same, aliases)
        version = same or Version(
            f"artifact-{next(self._ids)}", of["project"], collection, of["type"], of["digest"],
            of["run"], json.loads(of.get("metadata") or "{}"), aliases, of.get("ttlDurationSeconds"),
        )  # fmt: skip
        if same is None:
            self.versions.append(version)
        latest = {"id": there[-1].id, "versionIndex": there[-1].index} if there else None
        sequence = {"id": collection, "name": collection, "latestArtifact": latest}
        return {"createArtifact": {"artifact": {**self._artifact(version), "artifactSequence": sequence}}}

    def on_CreateArtifactManifest(self, of: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"createArtifactManifest": self._manifest(of["id"])}

    def on_UpdateArtifactManifest(self, of: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"updateArtifactManifest": self._manifest(of["artifactManifestID"].removeprefix("manifest-"))}

    def _manifest(self, identity: str) -> Mapping[str, Any]:
        version = self._by_id(identity)
        version.manifest = f"manifest-{identity}"
        file = {"id": version.manifest, "uploadUrl": f"{self.url}/blobs/{version.manifest}", "uploadHeaders": []}
        return {"artifactManifest": {"id": version.manifest, "file": file}}

    def on_CreateArtifactFiles(self, of: Mapping[str, Any]) -> Mapping[str, Any]:
        nodes = []
        for file in of.get("artifactFiles") or of["files"]:
            key = base64.b64decode(file["md5"]).hex()
            self._by_id(file["artifactID"]).files[file["name"]] = key
            url = None if self.blob(key).exists() else f"{self.url}/blobs/{key}"  # what is here is not sent again
            nodes.append({
                "id": key, "name": file["name"], "displayName": file["name"], "storagePath": f"blobs/{key}",
                "uploadUrl": url, "uploadHeaders": [], "uploadMultipartUrls": None,
                "artifact": {"id": file["artifactID"]},
            })  # fmt: skip
        return {"createArtifactFiles": {"files": _edges(nodes)}}

    def on_CommitArtifact(self, of: Mapping[str, Any]) -> Mapping[str, Any]:
        version = self._by_id(of["id"])
        entries = json.loads(self.blob(version.manifest).read_bytes())["contents"]
        files = {name: base64.b64decode(entry["digest"]).hex() for name, entry in entries.items() if "ref" not in entry}
        if missing := [name for name, key in files.items() if not self.blob(key).exists()]:
            raise ValueError(f"{version.id} has no content of {missing}")
        if version.state == "PENDING":
            version.files = files
            version.index = sum(v.index is not None for v in self.versions if v.collection == version.collection)
            version.state = "COMMITTED"
            self._move(version, {*version.wanted, "latest"})
        return {"commitArtifact": {"artifact": self._artifact(version)}}

    def on_ArtifactByID(self, of: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"artifact": self._artifact(self._by_id(of["id"]))}

    on_ArtifactByIDShort = on_ArtifactManifest = on_FetchArtifactManifest = on_ArtifactUsedBy = on_ArtifactByID
    on_FetchLinkedArtifacts = on_ArtifactCreatedBy = on_ArtifactFileURLs = on_ArtifactByID

    def on_ArtifactByName(self, of: Mapping[str, Any]) -> Mapping[str, Any]:
        found = self._find(of["name"])
        return {"project": {**self._project(of["project"]), "artifact": found and self._artifact(found)}}

    on_ArtifactType = on_ArtifactByName

    def on_ArtifactMembershipByName(self, of: Mapping[str, Any]) -> Mapping[str, Any]:
        found = self._find(of["name"])
        return {
            "project": {**self._project(of["project"]), "artifactCollectionMembership": found and self._member(found)}
        }

    def on_GetArtifactMembershipFileUrls(self, of: Mapping[str, Any]) -> Mapping[str, Any]:
        found = self._find(f"{of['collection']}:{of['alias']}")
        collection = {"__typename": "ArtifactSequence", "artifactMembership": found and self._member(found)}
        return {"project": {**self._project(of["project"]), "artifactCollection": collection}}

    on_ArtifactMembershipFiles = on_ArtifactCollectionMembershipFileUrls = on_GetArtifactMembershipFileUrls

    def on_ArtifactFiles(self, of: Mapping[str, Any]) -> Mapping[str, Any]:
        """As wandb 0.19 and 0.20 ask."""
        found = self._find(of["artifactName"])
        return {"project": {"artifactType": {"artifact": found and {"files": self._files(found)}}}}

    on_ArtifactVersionFiles = on_ArtifactFiles

    def on_ProjectArtifacts(self, of: Mapping[str, Any]) -> Mapping[str, Any]:
        """Versions of a collection, newest first, in pages."""
        there = self.collection(of["collection"])[::-1]
        start = int(of.get("cursor") or 0)
        end = start + (of.get("perPage") or 50)
        page = _edges([self._artifact(v) for v in there[start:end]], str(end) if end < len(there) else None)
        for edge, version in zip(page["edges"], there[start:end], strict=True):
            edge["version"] = f"v{version.index}"
        more = {"artifacts": page, "aliases": _edges([]), "tags": _edges([]), "description": None, "createdAt": NOW}
        found = {**self._collection(there[0]), **more} if there else None
        kind = {"name": of["type"], "artifactCollection": found, "artifactSequence": found}
        return {"project": {**self._project(of["project"]), "artifactType": kind}}

    on_Artifacts = on_ArtifactCollection = on_ProjectArtifacts

    def on_UseArtifact(self, of: Mapping[str, Any]) -> Mapping[str, Any]:
        version = self._by_id(of["id"])
        version.used_by.append(of["run"])
        return {"useArtifact": {"artifact": self._artifact(version)}}

    def on_UpdateArtifact(self, of: Mapping[str, Any]) -> Mapping[str, Any]:
        version = self._by_id(of["id"])
        if of.get("metadata") is not None:
            version.metadata = json.loads(of["metadata"])
        if (ttl := of.get("ttlDurationSeconds")) is not None:
            version.ttl = ttl if ttl > 0 else None
        return {name: {"artifact": self._artifact(version)} for name in ("result", "updateArtifact")}

    on_updateArtifact = on_UpdateArtifact

    def on_AddAliases(self, of: Mapping[str, Any]) -> Mapping[str, Any]:
        self._move(self._by_id(of["id"]), [alias["alias"] for alias in of["aliases"]])
        return {name: {"success": True} for name in ("result", "addAliases")}

    def on_DeleteAliases(self, of: Mapping[str, Any]) -> Mapping[str, Any]:
        version = self._by_id(of["id"])
        gone = {alias["alias"] for alias in of["aliases"]}
        version.aliases = [alias for alias in version.aliases if alias not in gone]
        return {name: {"success": True} for name in ("result", "deleteAliases")}

    on_addAliases, on_deleteAliases = on_AddAliases, on_DeleteAliases

    def on_DeleteArtifact(self, of: Mapping[str, Any]) -> Mapping[str, Any]:
        version = self._by_id(of["id"])
        if version.aliases and not of.get("deleteAliases"):
            raise ValueError(f"{version.name} has aliases {version.aliases}")
        version.state, version.aliases = "DELETED", []
        return {name: {"artifact": {"id": version.id}} for name in ("result", "deleteArtifact")}

    def on_LinkArtifact(self, of: Mapping[str, Any]) -> Mapping[str, Any]:
        version = self._by_id(of["id"])
        version.links.append((of["project"], of["artifactPortfolioName"]))
        answer = {"versionIndex": 0, "artifactMembership": self._member(version, version.links[-1])}
        return dict.fromkeys(("result", "linkArtifact"), answer)

    def _move(self, version: Version, aliases: Iterable[str]) -> None:
        """Give a version these aliases; the others of its collection lose them."""
        wanted = set(aliases)
        for other in self.versions:
            if other.collection == version.collection:
                other.aliases = [alias for alias in other.aliases if alias not in wanted]
        version.aliases = sorted({*version.aliases, *wanted})

    # What GraphQL calls things.

    def _project(self, name: str) -> dict[str, Any]:
        entity = {"id": "2", "name": ENTITY}
        return {"id": name, "internalId": name, "name": name, "entityName": ENTITY, "entity": entity}

    def _run(self, name: str) -> dict[str, Any] | None:
        if name not in self.runs:
            return None
        empty = {"summaryMetrics": "{}", "config": "{}", "wandbConfig": '{"t": 1}', "historyTail": "[]"}
        counts = {"historyLineCount": 0, "logLineCount": 0, "eventsLineCount": 0, "eventsTail": "[]"}
        user = {"id": "1", "name": ENTITY, "username": ENTITY}
        facts = {"description": None, "notes": None, "tags": [], "sweepName": None, "state": "running", "user": user}
        project = self._project(self.runs[name])
        known = {"__typename": "Run", "id": name, "name": name, "displayName": name, "createdAt": NOW}
        return {**known, **empty, **counts, **facts, "projectId": 1, "project": project}

    def _collection(self, version: Version, link: tuple[str, str] | None = None) -> dict[str, Any]:
        kind = "ArtifactPortfolio" if link else "ArtifactSequence"
        project, name = link or (version.project, version.collection)
        return {"__typename": kind, "id": name, "name": name, "project": self._project(project)}

    def _member(self, version: Version, link: tuple[str, str] | None = None) -> dict[str, Any]:
        aliases = [] if link else [{"__typename": "ArtifactAlias", "id": a, "alias": a} for a in version.aliases]
        return {
            "__typename": "ArtifactCollectionMembership", "id": f"member-{version.id}", "createdAt": NOW,
            "versionIndex": 0 if link else version.index, "aliases": aliases, "artifact": self._artifact(version),
            "artifactCollection": self._collection(version, link), "files": self._files(version),
        }  # fmt: skip

    def _files(self, version: Version) -> dict[str, Any]:
        if not version.manifest or not self.blob(version.manifest).exists():
            return _edges([])
        entries = json.loads(self.blob(version.manifest).read_bytes())["contents"]
        nodes = [
            {
                "__typename": "File", "id": name, "name": name, "sizeBytes": entry.get("size", 0), "url": None,
                "digest": entry["digest"], "md5": entry["digest"], "storagePath": None, "mimetype": None,
                "updatedAt": NOW, "directUrl": f"{self.url}/blobs/{version.files.get(name, name)}",
            }
            for name, entry in entries.items()
        ]  # fmt: skip
        return _edges(nodes)

    def _artifact(self, version: Version) -> dict[str, Any]:
        collection = self._collection(version)
        aliases = [{"__typename": "ArtifactAlias", "id": a, "alias": a, "artifactCollection": collection}
                   for a in version.aliases]  # fmt: skip
        sizes = [self.blob(key).stat().st_size for key in version.files.values() if self.blob(key).exists()]
        members = [
            {
                "versionIndex": index,
                "createdAt": NOW,
                "aliases": [],
                "artifactCollection": self._collection(version, of),
            }
            for index, of in [(version.index, None), *((0, link) for link in version.links)]
        ]
        return {
            "__typename": "Artifact", "id": version.id, "artifactSequence": collection, "versionIndex": version.index,
            "artifactType": {"name": version.type}, "description": None, "metadata": json.dumps(version.metadata),
            "ttlDurationSeconds": version.ttl or -2, "ttlIsInherited": version.ttl is None, "tags": [],
            "historyStep": None, "state": version.state, "size": sum(sizes), "digest": version.digest,
            "commitHash": version.id, "fileCount": len(version.files), "createdAt": NOW, "updatedAt": NOW,
            "aliases": aliases, "currentManifest": {"file": {"directUrl": f"{self.url}/blobs/{version.manifest}"}},
            "createdBy": self._run(version.run), "usedBy": _edges([self._run(run) for run in version.used_by]),
            "artifactMemberships": _edges(members), "files": self._files(version),
        }  # fmt: skip


def _type(name: str) -> dict[str, Any]:
    fields = [{"name": field} for field in TYPES.get(name, ())]
    return {"name": name, "fields": fields, "inputFields": fields}


def _edges(nodes: list[Any], end: str | None = None) -> dict[str, Any]:
    """A list as GraphQL's pages have it; `end` is where the next page begins."""
    page = {"__typename": "PageInfo", "endCursor": end, "hasNextPage": end is not None}
    return {
        "totalCount": len(nodes),
        "pageInfo": page,
        "edges": [{"node": node, "cursor": end or ""} for node in nodes],
    }
