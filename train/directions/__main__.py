"""Attribute directions of a prior (thesis Eq. 6.3): from its weights, from codes, or from labelled pictures.

    python -m train.directions --config train/configs/directions/starter.yaml --data FOLDER --labels labels.jsonl \
        --output_dir runs/directions
    python -m train.directions --method factorise --prior PRIOR --output_dir runs/factorised
    python -m train.directions --method pca --prior PRIOR --output_dir runs/components

Ends with `OUTPUT_DIR/directions`, for `StyleDirections.from_pretrained`, and beside it `report.json`,
`codes.safetensors` (for `--codes` of later runs) and `sheet.png`, each direction from -3 to 3.
"""

from train.directions.config import DirectionsConfig
from train.directions.find import write_directions
from train.engine.config import read_config
from train.engine.run import work_in


def main(argv: list[str] | None = None) -> None:
    config = read_config(DirectionsConfig, argv, description=__doc__ or "")
    work_in(config.output_dir, lambda: write_directions(config))


if __name__ == "__main__":
    main()
