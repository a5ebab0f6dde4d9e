"""A method from outside facekit: photos, blurred. This file is read whenever facekit starts, so it imports no torch."""

from pathlib import Path

from facekit.methods import Method

METHOD = Method(
    name="blur",
    title="Blur",
    model="face-blur",
    starter=str(Path(__file__).with_name("face-blur-starter")),
    pipeline="facekit_blur.pipeline.BlurPipeline",
    command="facekit_blur.command",
    tab="facekit_blur.tab",
    tasks=("restore",),
)
