"""Train StyleGAN2, the facial prior behind restoration and editing (Karras et al. 2020).

    accelerate launch -m train.prior --config train/configs/prior/paper.yaml --data FOLDER --output_dir runs/prior

Ends with `OUTPUT_DIR/pipeline`: `prior/` (generator, mapping network and the measured mean style) with averaged
weights, and `discriminator/`. The same command goes on where a run stopped.
"""

from train.engine.config import read_config
from train.engine.precision import launch
from train.prior.config import PriorConfig
from train.prior.trainer import PriorTrainer


def main(argv: list[str] | None = None) -> None:
    launch(PriorTrainer, read_config(PriorConfig, argv, description=__doc__ or ""))


if __name__ == "__main__":
    main()
