"""Prior and restorer on two real processes train as one process on the joined batch."""

from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.train.test_two_processes import assert_trained_as_one, launch
from tests.train.tiny_stages import DISCRIMINATOR, PRIOR, tiny_guides, write_config


def options_of(stage: str, folder: Path) -> dict[str, object]:
    """Batch statistics (minibatch deviation), a part of the batch and dropout would depend on how it is shared."""
    if stage == "prior":
        alone = {"discriminator": DISCRIMINATOR | {"stddev_group": 1}, "path.batch_shrink": 1}
        return alone | {
            "prior": PRIOR,
            "critic_augment.kind": "ada",
            "critic_augment.probability": 0.5,
            "critic_augment.length": 100,
        }
    guides = dict.fromkeys(("prior", "style_encoder", "code_diffuser"), str(tiny_guides(folder)))
    return guides | {
        "restorer": {"global_dim": 16, "dropout": 0.0},
        "discriminator": {"stddev_group": 1},
        "pictures.perceptual": "feature_matching",
        "pictures.identity_weight": 0,
    }


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["prior", "restorer"])
def test_two_processes_equal_one(tmp_path: Path, pictures: Path, stage: str) -> None:
    config = write_config(tmp_path, pictures, max_steps=2, learning_rate=1e-5, **options_of(stage, tmp_path))
    for processes, batch in ((1, 4), (2, 2)):
        result = tmp_path / f"{stage}-{processes}"
        output = ["--output_dir", str(tmp_path / f"run{processes}"), "--batch_size", str(batch)]
        launch(processes, result, ["--config", str(config), *output])
        assert (tmp_path / f"run{processes}" / "pipeline" / stage).is_dir()
    alone = load_file(tmp_path / f"{stage}-1.0.safetensors")
    ranks = [load_file(tmp_path / f"{stage}-2.{rank}.safetensors") for rank in (0, 1)]

    # At this learning rate, updates that rounding decides do not move what comes after them.
    assert_trained_as_one(alone, ranks, gradients=20)
