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
from train.multimodal.config import MultimodalConfig
from train.multimodal.trainer import MultimodalTrainer
from train.prior.config import PriorConfig
from train.prior.trainer import PriorTrainer
from train.restorer.config import RestorerConfig
from train.restorer.trainer import RestorerTrainer

STAGES = {
    "prior": (PriorTrainer, PriorConfig),
    "restorer": (RestorerTrainer, RestorerConfig),
    "exemplar": (ExemplarTrainer, ExemplarConfig),
    "multimodal": (MultimodalTrainer, MultimodalConfig),
}


def run(trainer: Stage, result: Path) -> None:
    """All steps; the updates' gradients in the first one, positions and final weights go to `result`."""
    found: dict[str, torch.Tensor] = {}
    step_of = {}

    def watch(learner: Learner) -> None:
        optimizer_step = learner.optimizer.step

        def step() -> None:
            if trainer.run.step == 1:
                number = len(step_of)
                step_of[number] = learner
                for i, parameter in enumerate(learner.network.parameters()):
                    if parameter.grad is not None:
                        gradient = parameter.grad.clone(memory_format=torch.contiguous_format)
                        found[f"gradient.{number}.{i}"] = gradient
            optimizer_step()

        learner.optimizer.step = step

    for learner in trainer.learners:
        watch(learner)
    positions, iteration = [], trainer.iteration

    def noted(batches: list[dict[str, torch.Tensor]]) -> None:
        positions.extend(batch["position"] for batch in batches)
        iteration(batches)

    trainer.iteration = noted  # type: ignore[method-assign]
    trainer.train()
    for i, learner in enumerate(trainer.learners):
        found |= {f"weight.{i}.{k}": v.contiguous() for k, v in learner.network.state_dict().items()}
    save_file(found | {"positions": torch.cat(positions)}, result)


if __name__ == "__main__":
    trainer_class, config_class = STAGES[Path(sys.argv[1]).stem.split("-")[0]]
    run(
        trainer_class(read_config(config_class, sys.argv[2:])),
        Path(sys.argv[1]).with_suffix(f".{os.environ.get('RANK', '0')}.safetensors"),
    )
