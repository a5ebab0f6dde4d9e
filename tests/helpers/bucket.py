"""A stand-in for S3 with one bucket, on a port of this machine, and what a process needs to reach it."""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.request import Request, urlopen

from moto.server import ThreadedMotoServer

BUCKET = "bucket"


@contextmanager
def serve_bucket(address: str = "127.0.0.1") -> Iterator[dict[str, str]]:
    """Serve it; gives the environment variables of those who use it."""
    server = ThreadedMotoServer(ip_address=address, port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        with urlopen(Request(f"http://{host}:{port}/moto-api/reset", method="POST")):
            pass  # servers of one process have their buckets in common
        yield {
            "AWS_ACCESS_KEY_ID": "somebody",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
    finally:
        server.stop()
