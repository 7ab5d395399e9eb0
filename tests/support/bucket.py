"""An object store on loopback that speaks S3's protocol: moto's server, in a thread of this process.

with BucketServer() as server, pytest.MonkeyPatch.context() as patch:
    server.use(patch)                       # fsspec, boto3 and W&B find it, and no other one
    server.make("bucket")
    server.names("bucket")                  # what is in it
"""

from __future__ import annotations

import logging
from typing import Any

import fsspec
import pytest


class BucketServer:
    """See the module."""

    def __enter__(self) -> BucketServer:
        from moto.server import ThreadedMotoServer

        logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it tells each request
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._server.start()
        self._url = "http://{}:{}".format(*self._server.get_host_and_port())
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()

    def use(self, patch: pytest.MonkeyPatch) -> None:
        """Let the clients of this process talk to this server."""
        mine = {
            "ACCESS_KEY_ID": "x",
            "SECRET_ACCESS_KEY": "x",
            "DEFAULT_REGION": "us-east-1",
            "ENDPOINT_URL": self._url,
        }
        for name, value in {**mine, "EC2_METADATA_DISABLED": "true", "CONFIG_FILE": "none"}.items():
            patch.setenv(f"AWS_{name}", value)
        fsspec.get_filesystem_class("s3").clear_instance_cache()

    @property
    def _filesystem(self) -> Any:
        found = fsspec.filesystem("s3")
        found.invalidate_cache()
        return found

    def make(self, bucket: str) -> None:
        self._filesystem.mkdir(bucket)

    def names(self, bucket: str) -> list[str]:
        """The names of all objects in a bucket, in order."""
        return sorted(path.removeprefix(f"{bucket}/") for path in self._filesystem.find(bucket))

    def etag(self, address: str) -> str:
        """What tells the content of an object, as the server calls it."""
        return str(self._filesystem.info(address)["ETag"]).strip('"')
