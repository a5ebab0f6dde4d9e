"""Train FACEMUG's multimodal aggregation and refinement auto-encoder (thesis chapter 6, Algorithm 5).

    accelerate launch -m train.multimodal --config train/configs/multimodal/thesis.yaml --data FOLDER \
        --style_encoder runs/encoder26/pipeline --prior PRIOR --pictures.identity_encoder IDENTITY \
        --output_dir runs/edit

Ends with `OUTPUT_DIR/pipeline`: `aggregation`, `refiner`, and the `style_encoder` and `prior` they were trained on;
with `--latent_warper` a `FaceEditPipeline`. A discriminator lies beside them where there was one. The same command
goes on where a run stopped.
"""

from train.engine.config import read_config
from train.engine.precision import launch
from train.multimodal.config import MultimodalConfig
from train.multimodal.trainer import MultimodalTrainer


def main(argv: list[str] | None = None) -> None:
    launch(MultimodalTrainer, read_config(MultimodalConfig, argv, description=__doc__ or ""))


if __name__ == "__main__":
    main()
