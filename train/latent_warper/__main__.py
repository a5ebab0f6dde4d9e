"""Train FACEMUG's latent warping network (thesis sections 6.2.2 and 6.2.6, Algorithm 4) on a frozen encoder and prior.

    accelerate launch -m train.latent_warper --config train/configs/latent_warper/thesis.yaml --data FOLDER \
        --style_encoder runs/encoder26/pipeline --prior PRIOR --pictures.identity_encoder IDENTITY \
        --output_dir runs/warper

The network is given codes between those of a face and of its mirror image, and learns to turn them back into the
face's. It is guided by the codes of the same face in other colours, at another size and partly covered: what these
share with the face is its pose. Ends with `OUTPUT_DIR/pipeline/latent_warper`. The same command goes on where a run
stopped.
"""

from train.engine.config import read_config
from train.engine.precision import launch
from train.latent_warper.config import LatentWarperConfig
from train.latent_warper.trainer import LatentWarperTrainer


def main(argv: list[str] | None = None) -> None:
    launch(LatentWarperTrainer, read_config(LatentWarperConfig, argv, description=__doc__ or ""))


if __name__ == "__main__":
    main()
