"""Every module of the library can be the first that is imported."""

import os
import pkgutil
import subprocess
import sys

import pytest

import facekit

# Each child begins where the large libraries are loaded already, so that all of them take seconds.
FIRST = """
import importlib, os, sys
import facekit._torchvision
import cv2, diffusers, torch, transformers
failed = []
for name in sys.argv[1:]:
    child = os.fork()
    if not child:
        try:
            importlib.import_module(name)
        except BaseException as error:
            print(name, repr(error), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        failed.append(name)
sys.exit(", ".join(failed) or None)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_every_module_can_be_imported_first() -> None:
    found = pkgutil.walk_packages(facekit.__path__, "facekit.")
    names = [module.name for module in found if not module.name.endswith("__main__")]
    assert len(names) > 100
    done = subprocess.run(
        [sys.executable, "-c", FIRST, *names], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
