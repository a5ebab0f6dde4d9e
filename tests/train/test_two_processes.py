"""Two real processes on one machine train as one process on the joined batch."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

ROOT = Path(__file__).resolve().parents[2]
PROBE = Path(__file__).with_name("stage_probe.py")


def launch(processes: int, result: Path, options: list[str], probe: Path = PROBE) -> None:
    """Run a probe; several processes the way `train/README.md` says for a machine without GPU."""
    command = [str(probe), str(result), *options]
    if processes > 1:
        # `--cpu` starts one process whatever `--num_processes` says, unless MPI is there (accelerate 1.15).
        launcher = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", str(processes)]
        launcher += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
        command = [*launcher, "--main_process_port", "0", *command]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *command], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]


def assert_trained_as_one(
    alone: dict[str, torch.Tensor], ranks: list[dict[str, torch.Tensor]], *, gradients: int
) -> None:
    """Disjoint samples, the same weights in both processes, and the gradients of one; there are more than so many."""
    seen = [set(rank.pop("positions").tolist()) for rank in ranks]
    assert not seen[0] & seen[1], "the processes saw the same samples"
    assert seen[0] | seen[1] == set(alone.pop("positions").tolist())

    weights = [name for name in alone if name.startswith("weight.")]
    assert weights
    for name in weights:
        assert torch.equal(ranks[0][name], ranks[1][name]), f"{name} differs between the processes"

    names = [name for name in alone if name.startswith("gradient.")]
    assert len(names) > gradients
    largest = max(alone[name].abs().max().item() for name in names)
    assert largest > 0
    for name in names:
        torch.testing.assert_close(ranks[0][name], alone[name], rtol=2e-3, atol=2e-4 * largest)


@pytest.mark.slow
@pytest.mark.parametrize("extra", [[], ["--gradient_accumulation_steps", "2", "--update_order", "published"]])
def test_two_processes_equal_one(tmp_path: Path, tiny_config: Path, extra: list[str]) -> None:
    options = ["--config", str(tiny_config), "--max_steps", "2", "--freeze_batch_statistics", "true", *extra]
    launch(1, tmp_path / "inpaint-1", [*options, "--output_dir", str(tmp_path / "run1"), "--batch_size", "4"])
    launch(2, tmp_path / "inpaint-2", [*options, "--output_dir", str(tmp_path / "run2"), "--batch_size", "2"])
    alone = load_file(tmp_path / "inpaint-1.0.safetensors")
    ranks = [load_file(tmp_path / f"inpaint-2.{rank}.safetensors") for rank in (0, 1)]

    # The second pass of accumulation pairs other samples, the average over all of them is the same.
    assert_trained_as_one(alone, ranks, gradients=50)
