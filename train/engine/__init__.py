"""What every training runs on: the loop, checkpoints, curves, options, critics, losses on pictures, validation."""
