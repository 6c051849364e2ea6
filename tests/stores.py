"""An S3 server of a test's own, to whom all processes find that are begun meanwhile."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from moto.core.base_backend import BackendDict
from moto.server import ThreadedMotoServer
from s3fs import S3FileSystem


@contextmanager
def s3_server() -> Iterator[str]:
    moto = ThreadedMotoServer("127.0.0.1", port=0)
    moto.start()
    # Both keep what an earlier server of this process had.
    BackendDict.reset()
    S3FileSystem.clear_instance_cache()
    host, port = moto.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "tester")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield f"http://{host}:{port}"
    S3FileSystem.clear_instance_cache()
    moto.stop()
