"""Two machines on this one: network namespaces with an address each, on a bridge to which this machine belongs."""

import os
import secrets
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

INTERFACE = "e0"


class NotAllowed(Exception):
    """This machine does not let us have namespaces."""


@dataclass(frozen=True)
class Host:
    """A namespace.

    Attributes:
        name: of the namespace.
        address: of its one interface, `INTERFACE`.
    """

    name: str
    address: str

    def start(self, command: Sequence[str], environment: dict[str, str]) -> subprocess.Popen:
        """Start a command there."""
        return subprocess.Popen(
            ["ip", "netns", "exec", self.name, *command],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def kill(self) -> None:
        """End all that runs there at once; the kernel closes its connections, so that the others see it."""
        for number in _ip("netns", "pids", self.name).split():
            with suppress(ProcessLookupError):
                os.kill(int(number), signal.SIGKILL)


@contextmanager
def connect_two_hosts() -> Iterator[tuple[str, Host, Host]]:
    """This machine's address on the bridge, and two hosts. Raises NotAllowed."""
    mark, net = secrets.token_hex(3), f"198.18.{secrets.randbelow(256)}"  # kept for tests of networks
    bridge, hosts = f"br{mark}", [Host(f"host{number}-{mark}", f"{net}.{number}") for number in (1, 2)]
    try:
        try:
            _ip("link", "add", bridge, "type", "bridge")
            for host in hosts:
                _ip("netns", "add", host.name)
        except (OSError, subprocess.CalledProcessError) as error:
            raise NotAllowed(f"ip: {getattr(error, 'stderr', None) or error}") from error
        _ip("address", "add", f"{net}.254/24", "dev", bridge)
        _ip("link", "set", bridge, "up")
        for number, host in enumerate(hosts):
            end = f"v{number}{mark}"
            _ip("link", "add", end, "type", "veth", "peer", "name", INTERFACE, "netns", host.name)
            _ip("link", "set", end, "master", bridge, "up")
            _ip("-n", host.name, "address", "add", f"{host.address}/24", "dev", INTERFACE)
            _ip("-n", host.name, "link", "set", "lo", "up")
            _ip("-n", host.name, "link", "set", INTERFACE, "up")
        yield f"{net}.254", *hosts
    finally:
        for host in hosts:
            with suppress(OSError, subprocess.CalledProcessError):
                host.kill()
        for words in (*(("netns", "delete", host.name) for host in hosts), ("link", "delete", bridge)):
            with suppress(OSError, subprocess.CalledProcessError):  # what was never made
                _ip(*words)


def _ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout
