"""Train the code diffuser (thesis 3.2.4) on a frozen style encoder and prior.

    accelerate launch -m train.code_diffuser --config train/configs/code_diffuser/paper.yaml --data FOLDER \
        --prior runs/prior/pipeline --style_encoder runs/encoder/pipeline --output_dir runs/diffuser

Ends with `OUTPUT_DIR/pipeline`: `code_diffuser/` and the `scheduler/` that says how it was trained. The same command
goes on where a run stopped.
"""

from train.code_diffuser.config import CodeDiffuserConfig
from train.code_diffuser.trainer import CodeDiffuserTrainer
from train.engine.config import read_config
from train.engine.precision import launch


def main(argv: list[str] | None = None) -> None:
    launch(CodeDiffuserTrainer, read_config(CodeDiffuserConfig, argv, description=__doc__ or ""))


if __name__ == "__main__":
    main()
