"""The demo as a ZeroGPU Space serves it, on a machine without a GPU: `python zero_gpu_server.py PORT`.

All is the package `spaces` itself, but for two steps of its forked workers: no GPU is put at their disposal, and no
weights are moved to it. A PyTorch without CUDA gets what the package reads when it is imported. In the page's own
process PyTorch says that there is a GPU, and a request that touches it meets "Low-level CUDA init reached", or "Torch
not compiled with CUDA enabled".
"""

import sys

import torch


def in_bad_fork() -> bool:
    """What PyTorch without CUDA answers by a function that cannot be pickled."""
    return False


def main() -> None:
    if torch.version.cuda is None:
        torch.version.cuda, torch._C._cuda_init = "13.0", None
        torch.cuda._is_in_bad_fork = in_bad_fork
    import spaces.zero.torch as workers

    from facekit_demo import build_app, launch

    workers.init = lambda _device: None
    workers.move = lambda callback=None: None
    launch(build_app(), port=int(sys.argv[1]))


if __name__ == "__main__":
    main()
