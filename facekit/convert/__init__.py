"""Converters of published checkpoints to folders for `from_pretrained`."""
