"""Train the face parser on pictures with label maps.

    accelerate launch -m train.parser --config train/configs/parser/starter.yaml --data FOLDER \
        --validation.data FOLDER --output_dir runs/parser

Ends with `OUTPUT_DIR/pipeline`, a folder that `FaceParser.from_pretrained` loads; `OUTPUT_DIR/best` is the same
where it scored best. The same command goes on where a run stopped.
"""

from train.engine.config import read_config
from train.engine.precision import launch
from train.parser.config import ParserConfig
from train.parser.trainer import ParserTrainer


def main(argv: list[str] | None = None) -> None:
    launch(ParserTrainer, read_config(ParserConfig, argv, description=__doc__ or ""))


if __name__ == "__main__":
    main()
