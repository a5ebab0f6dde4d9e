"""Train GRIG (few-shot generative residual inpainting), thesis chapter 4, Algorithm 1.

    accelerate launch -m train.inpaint --config train/configs/inpaint/thesis.yaml --data FOLDER --output_dir runs/faces

Ends with a pipeline folder `OUTPUT_DIR/pipeline` that `FaceInpaintPipeline.from_pretrained` loads. The same command
goes on where a run stopped. Every random choice belongs to a numbered sample, not to a process, so results do not
depend on how many processes share the work (beyond rounding and batch statistics).
"""

from train.engine.config import read_config
from train.engine.precision import launch
from train.inpaint.config import InpaintConfig
from train.inpaint.trainer import InpaintTrainer


def main(argv: list[str] | None = None) -> None:
    launch(InpaintTrainer, read_config(InpaintConfig, argv, description=__doc__ or ""))


if __name__ == "__main__":
    main()
