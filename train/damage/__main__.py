"""Train the damage finder on photos, on which damage is drawn.

    accelerate launch -m train.damage --config train/configs/damage/starter.yaml --data FOLDER \
        --validation.data FOLDER --output_dir runs/damage

Ends with `OUTPUT_DIR/pipeline`, a folder that `DamageFinder.from_pretrained` loads; `OUTPUT_DIR/best` is the same
where it scored best. The same command goes on where a run stopped.
"""

from train.damage.config import DamageConfig
from train.damage.trainer import DamageTrainer
from train.engine.config import read_config
from train.engine.precision import launch


def main(argv: list[str] | None = None) -> None:
    launch(DamageTrainer, read_config(DamageConfig, argv, description=__doc__ or ""))


if __name__ == "__main__":
    main()
