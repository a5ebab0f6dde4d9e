"""The random streams of the trainings, by name.

A stream is drawn from a generator seeded by the seed of the run, the number of a sample (or of a step) and a number of
its own, so a run is the same after a restart and over any number of processes. Two uses never share a number, unless
they are to draw the same. These numbers never change: the same seed would give another run.
"""

from enum import IntEnum

# Added to a stream's number, depending on what it counts: samples, steps, or steps of the layers' own draws.
SAMPLE, STEP, LAYERS = 100, 200, 300


class CriticView(IntEnum):
    """Augmentation of the pictures that a discriminator is shown."""

    REAL = 30
    FAKE = 31
    JUDGED = 32  # while the generator learns


class Prior(IntEnum):
    """Samples of the prior: codes; added to these numbers, `MIXING` which of them are mixed, `NOISE` the noise."""

    FAKE = 0
    JUDGED = 2
    PATH = 3
    DIRECTION = 4
    SAMPLE_GRID = 5
    MIXING = 10
    NOISE = 20


class StyleEncoder(IntEnum):
    """Samples of the style encoder's training."""

    PICTURE = 0
    MIXED_PICTURE = 1
    MIXING = 2
    MAPPING = 3


class CodeDiffuser(IntEnum):
    """Samples of the code diffuser's training."""

    CHAIN = 0
    TIMESTEP = 1
    SAMPLE_GRID = 2


class Inpaint(IntEnum):
    """Samples of GRIG's training: their codes, and other ones to compare with."""

    CODE = 1
    OTHER_CODE = 2


class Restorer(IntEnum):
    """Samples of the restorer's training; `FAKE` and `JUDGED` also number its choices for a whole step."""

    PROMPTS = 0
    FAKE = 1
    JUDGED = 2
    SAMPLE_GRID = 3
    VALIDATION_PROMPTS = 5
    VALIDATION = 6


class Exemplar(IntEnum):
    """Samples of EXE-GAN's training."""

    FAKE = 1
    JUDGED = 2
    PATH = 3
    DIRECTION = 4
    SAMPLE_GRID = 5
    LIGHT = 40


class ExemplarStep(IntEnum):
    """Choices for a whole step of EXE-GAN's training; `MIXING` is added to the number of each of `Exemplar`'s fills."""

    SAME = 0
    MIXING = 10
    LAYERS = 12  # also that of mixing while `Exemplar.JUDGED` is drawn


class Multimodal(IntEnum):
    """Samples of FACEMUG's training."""

    FAKE = 1
    SAMPLE_GRID = 5
    RANDOM_CODES = 6
    SHARE = 7
    PROJECTED = 8
    BANK = 9
    REGION = 10


class MultimodalStep(IntEnum):
    """Choices for a whole step of FACEMUG's training."""

    SAME = 0
    CROSSOVER = 11


class LatentWarper(IntEnum):
    """Samples of the latent warper's training."""

    TASK = 0
    PICTURE = 1


REASONING = 4  # [seed, 4, step]: how many reasoning steps GRIG takes in a step
SCALE_STEP = 0  # the latent warper's one choice for a whole step
POOL_STEP = 0  # the style encoder's: which codes its pools exchange
