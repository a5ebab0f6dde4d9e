"""A folder of small pictures and the options of a run that takes seconds."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from skimage.data import astronaut

from train.engine.groups import nest

TINY: dict[str, Any] = {
    "max_steps": 4,
    "batch_size": 2,
    "masks": {"kind": "centre"},
    "reasoning_steps": 2,
    "inpainter": {
        "sample_size": 64,
        "stem_channels": 4,
        "encoder_channels": [8, 8, 8],
        "dim": 8,
        "num_blocks": [1, 1, 1, 1],
        "num_refinement_blocks": 1,
        "num_heads": [1, 1, 2, 2],
    },
    "projected": {"input_size": 64, "projection_channels": [8, 8, 8, 8], "discriminator_channels": [8, 8]},
    "patch": {"base_channels": 4},
    "backbone_init": "random",
    "pictures.perceptual": "feature_matching",
    "learning_rate": 0.002,
    "log_every": 1,
    "sample_every": 0,
    "validation.every": 0,
    "checkpoint_every": 1000,
    "tracker": "none",
}


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten different 64x64 crops of the astronaut photo, in two classes of a metadata column."""
    folder = tmp_path_factory.mktemp("pictures")
    photo = astronaut()
    rows = []
    for i in range(10):
        y, x = 40 * i, 44 * (9 - i)
        Image.fromarray(np.ascontiguousarray(photo[y : y + 64, x : x + 64])).save(folder / f"{i:02d}.png")
        rows.append(f'{{"file_name": "{i:02d}.png", "kind": "{"even" if i % 2 == 0 else "odd"}"}}')
    (folder / "metadata.jsonl").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture
def tiny_config(tmp_path: Path, pictures: Path) -> Path:
    """The YAML file of a tiny run; `output_dir` is left to the command line."""
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(nest(TINY | {"data": str(pictures)})))
    return path
