"""Run by the two-process test, alone and under `accelerate launch`: one iteration, and what it saw and did."""

import os
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

import facekit  # noqa: F401
from train.engine.config import read_config
from train.inpaint.config import InpaintConfig
from train.inpaint.trainer import InpaintTrainer


def run(config: InpaintConfig, result: Path) -> None:
    """Two iterations; gradients before every update, positions and final weights go to `result`."""
    trainer = InpaintTrainer(config)
    gradients: dict[str, torch.Tensor] = {}

    def keep_gradients(optimizer: object) -> None:
        """The real update, after a look at the averaged gradients of each network's first one.

        Adam's first update is nearly a sign: rounding decides it where a gradient is nearly zero, so later gradients
        of two runs agree less than these.
        """
        if len(seen) <= len(trainer.critics):
            for group, parameters in enumerate(o["params"] for o in optimizer.param_groups):  # type: ignore[attr-defined]
                for i, parameter in enumerate(parameters):
                    if parameter.grad is not None:
                        key = f"gradient.{len(seen)}.{group}.{i}"
                        gradients[key] = parameter.grad.clone(memory_format=torch.contiguous_format)
            seen.append(optimizer)
        InpaintTrainer._step(optimizer)

    seen: list[object] = []
    trainer._step = keep_gradients  # type: ignore[method-assign]
    batches = trainer.batches()
    positions = []
    for _ in trainer.run.steps():
        group = [next(batches) for _ in range(config.gradient_accumulation_steps)]
        positions += [batch["position"] for batch in group]
        trainer.iteration(group)
    weights = {f"weight.{k}": v.contiguous() for k, v in trainer.raw_generator.state_dict().items()}
    for i, network in enumerate(trainer.losses.networks):
        weights |= {f"weight.critic{i}.{k}": v.contiguous() for k, v in network.state_dict().items()}
    save_file(gradients | weights | {"positions": torch.cat(positions)}, result)


if __name__ == "__main__":
    run(
        read_config(InpaintConfig, sys.argv[2:]),
        Path(sys.argv[1]).with_suffix(f".{os.environ.get('RANK', '0')}.safetensors"),
    )
