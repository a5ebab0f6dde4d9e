"""On the path of the demo under test: any contact beyond this machine fails and is written down."""

import os
import socket

_LOCAL = {"127.0.0.1", "::1", "localhost", "0.0.0.0", "::", "", None}
_connect = socket.socket.connect
_getaddrinfo = socket.getaddrinfo


def _refuse(host: object) -> None:
    with open(os.environ["NETWORK_GUARD_LOG"], "a") as log:
        log.write(f"{host}\n")
    raise OSError(f"network guard: {host} is not this machine")


def _guarded_connect(self: socket.socket, address: object) -> None:
    if self.family != socket.AF_UNIX and address[0] not in _LOCAL:
        _refuse(address[0])
    return _connect(self, address)


def _guarded_getaddrinfo(host: object, *arguments: object, **options: object) -> list:
    name = host.decode() if isinstance(host, bytes) else host
    if name not in _LOCAL and name != socket.gethostname():
        _refuse(name)
    return _getaddrinfo(host, *arguments, **options)


socket.socket.connect = _guarded_connect
socket.getaddrinfo = _guarded_getaddrinfo
