"""How long calls take on a device, its queue included, and what the device is called."""

import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

Call = Callable[[], Any]
CPU_INFO = Path("/proc/cpuinfo")


@dataclass
class Clock:
    """Times calls on a device; wall time, or the process's processor time."""

    device: torch.device
    cpu_time: bool = False

    def seconds(self, call: Call) -> float:
        """Time of a call, the device's queue included."""
        now = time.process_time if self.cpu_time else time.perf_counter
        synchronize(self.device)
        start = now()
        call()
        synchronize(self.device)
        return now() - start

    def rate(self, call: Call, work: float, least: float) -> float:
        """Operations per second of a call of `work` operations, repeated for at least so many seconds.

        A busy machine then slows it as much as it slows what it is compared with.
        """
        count, spent = 0, 0.0
        while spent < least or not count:
            spent += self.seconds(call)
            count += 1
        return count * work / spent

    def median(self, call: Call, calls: int = 3, least: float = 1.0) -> float:
        """Median seconds of a call after one that is not counted: so many calls, and more until `least` seconds."""
        call()
        times: list[float] = []
        while len(times) < calls or sum(times) < least:
            times.append(self.seconds(call))
        return statistics.median(times)


def synchronize(device: torch.device) -> None:
    """Wait for the device's queue."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def describe_device(device: torch.device) -> str:
    """The device's name: of the GPU, or of the processor with the number of its cores."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    name = platform.processor() or platform.machine()
    if CPU_INFO.is_file():
        lines = CPU_INFO.read_text().splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    return f"{name}, {os.cpu_count()} cores" + (", MPS" if device.type == "mps" else "")
