"""Run by the two-process tests of the stages, alone and under `accelerate launch`: what a run saw and did."""

import os
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

import facekit  # noqa: F401
from train.engine.config import read_config
from train.engine.stage import Learner, Stage
from train.exemplar.config import ExemplarConfig
from train.exemplar.trainer import ExemplarTrainer
from train.inpaint.config import InpaintConfig
from train.inpaint.trainer import InpaintTrainer
from train.multimodal.config import MultimodalConfig
from train.multimodal.trainer import MultimodalTrainer
from train.prior.config import PriorConfig
from train.prior.trainer import PriorTrainer
from train.restorer.config import RestorerConfig
from train.restorer.trainer import RestorerTrainer

STAGES = {
    "prior": (PriorTrainer, PriorConfig),
    "restorer": (RestorerTrainer, RestorerConfig),
    "inpaint": (InpaintTrainer, InpaintConfig),
    "exemplar": (ExemplarTrainer, ExemplarConfig),
    "multimodal": (MultimodalTrainer, MultimodalConfig),
}


def run(trainer: Stage, result: Path, *, first_only: bool) -> None:
    """All steps; the updates' gradients in the first one, positions and final weights go to `result`.

    `first_only`: of each network's first update alone. Adam's first update is nearly a sign: rounding decides it where
    a gradient is nearly zero, so the gradients of two runs agree less after it, unless the learning rate is tiny.
    """
    found: dict[str, torch.Tensor] = {}
    updated: list[Learner] = []

    def watch(learner: Learner) -> None:
        optimizer_step = learner.optimizer.step

        def step() -> None:
            if trainer.run.step == 1 and not (first_only and learner in updated):
                for i, parameter in enumerate(learner.network.parameters()):
                    if parameter.grad is not None:
                        gradient = parameter.grad.clone(memory_format=torch.contiguous_format)
                        found[f"gradient.{len(updated)}.{i}"] = gradient
                updated.append(learner)
            optimizer_step()

        learner.optimizer.step = step

    for learner in trainer.learners:
        watch(learner)
    positions, iterate = [], trainer.iterate

    def noted(batches: list[dict[str, torch.Tensor]]) -> None:
        positions.extend(batch["position"] for batch in batches)
        iterate(batches)

    trainer.iterate = noted  # type: ignore[method-assign]
    trainer.train()
    for i, learner in enumerate(trainer.learners):
        found |= {f"weight.{i}.{k}": v.contiguous() for k, v in learner.network.state_dict().items()}
    save_file(found | {"positions": torch.cat(positions)}, result)


if __name__ == "__main__":
    stage = Path(sys.argv[1]).stem.split("-")[0]
    trainer_class, config_class = STAGES[stage]
    run(
        trainer_class(read_config(config_class, sys.argv[2:])),
        Path(sys.argv[1]).with_suffix(f".{os.environ.get('RANK', '0')}.safetensors"),
        first_only=stage == "inpaint",
    )
