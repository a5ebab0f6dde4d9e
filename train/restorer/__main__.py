"""Train the restoration auto-encoder (thesis 3.2.4, Eq. 3.12 to 3.14) on a frozen encoder, diffuser and prior.

    accelerate launch -m train.restorer --config train/configs/restorer/paper.yaml --data FOLDER \
        --prior runs/prior/pipeline --style_encoder runs/encoder/pipeline --code_diffuser runs/diffuser/pipeline \
        --output_dir runs/restorer

Ends with a pipeline folder `OUTPUT_DIR/pipeline` that `FaceRestorePipeline.from_pretrained` loads, whatever the
ablation; with `--prompts false` with the restorer alone. The same command goes on where a run stopped.
"""

from train.engine.config import read_config
from train.engine.precision import launch
from train.restorer.config import RestorerConfig
from train.restorer.trainer import RestorerTrainer


def main(argv: list[str] | None = None) -> None:
    launch(RestorerTrainer, read_config(RestorerConfig, argv, description=__doc__ or ""))


if __name__ == "__main__":
    main()
