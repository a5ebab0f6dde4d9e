"""Train the style encoder (thesis 3.2.4, e4e), or encoder and generator together as an adversarial auto-encoder.

    accelerate launch -m train.style_encoder --config train/configs/style_encoder/paper.yaml --data FOLDER \
        --prior runs/prior/pipeline --output_dir runs/encoder

With `--modalities true` the encoder reads a picture's sketch, semantic map and colours as well (FACEMUG, Algorithm 3).
Ends with `OUTPUT_DIR/pipeline/style_encoder`; with `joint: true`, where no prior exists yet, with `prior/` and
`discriminator/` beside it. The same command goes on where a run stopped.
"""

from train.engine.config import read_config
from train.engine.precision import launch
from train.style_encoder.config import StyleEncoderConfig
from train.style_encoder.trainer import StyleEncoderTrainer


def main(argv: list[str] | None = None) -> None:
    launch(StyleEncoderTrainer, read_config(StyleEncoderConfig, argv, description=__doc__ or ""))


if __name__ == "__main__":
    main()
