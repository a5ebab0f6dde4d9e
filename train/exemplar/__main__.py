"""Train EXE-GAN, exemplar-guided inpainting (thesis chapter 5, Algorithm 2), on a frozen style encoder.

    accelerate launch -m train.exemplar --config train/configs/exemplar/thesis.yaml --data FOLDER \
        --style_encoder runs/encoder/pipeline --pictures.identity_encoder IDENTITY --output_dir runs/exemplar

Ends with a pipeline folder `OUTPUT_DIR/pipeline` that `ExemplarInpaintPipeline.from_pretrained` loads, with the
discriminator beside. The same command goes on where a run stopped.
"""

from train.engine.config import read_config
from train.engine.precision import launch
from train.exemplar.config import ExemplarConfig
from train.exemplar.trainer import ExemplarTrainer


def main(argv: list[str] | None = None) -> None:
    launch(ExemplarTrainer, read_config(ExemplarConfig, argv, description=__doc__ or ""))


if __name__ == "__main__":
    main()
