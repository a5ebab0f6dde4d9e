"""Options of the style encoder's training."""

from dataclasses import dataclass, field
from typing import Any

from train.checks import check_choices
from train.data.modalities import EncoderGuidance
from train.engine.optimizers import OPTIMIZERS
from train.engine.options import (
    FIDS,
    Adversarial,
    Average,
    BestValidation,
    FacePictures,
    needs_discriminator,
)
from train.engine.stage import StageConfig


@dataclass(kw_only=True)
class LatentCritic:
    """The discriminator of codes, which tells those of the mapping network from the encoder's.

    Attributes:
        weight: of its loss in the encoder; 0: there is none.
        learning_rate: of its Adam.
        r1_weight, r1_every: gamma of its R1, and steps from one update with it to the next (0: none).
        pool: number of earlier codes of each kind that are kept, to be shown again.
    """

    weight: float = 0.1
    learning_rate: float = 2e-5
    r1_weight: float = 10.0
    r1_every: int = 16
    pool: int = 50


@dataclass(kw_only=True)
class Progressive:
    """When codes begin to differ from the first one.

    Attributes:
        start: step after which the second code has an offset of its own; 0 gives all codes theirs from the start.
        every: steps until the next code gets one.
    """

    start: int = 20_000
    every: int = 2_000


@dataclass(kw_only=True)
class StyleEncoderConfig(StageConfig):
    """Options of the style encoder's training; defaults are the published trainer's.

    Attributes:
        prior: folder or Hub id of the frozen generator (and its discriminator, where feature matching needs it);
            with `joint`, options of the generator that is trained.
        joint: train generator and encoder together from scratch, by reconstruction and an adversarial loss on pictures.
        keep_encoder: with `joint` and `init_from`: the encoder stays as it is, so that whatever was trained on its
            codes goes on, and the generator alone learns to draw them better. It is in no checkpoint: `init_from` is
            needed to go on, too. `encoder`, `delta_weight` and `statistics_batches` do nothing then.
        encoder, discriminator: options of the networks; the number of codes is the generator's.
        modalities: the encoder reads 26 channels, parts of which are hidden: see `guidance`.
        teacher, teacher_weight: folder or Hub id of a finished RGB encoder, and the weight of the mean square of the
            differences from its codes of the whole picture.
        init_from: folder or Hub id of an encoder (with `joint`, of all three networks) to start from. With `joint`
            the generator's and discriminator's pictures may be smaller than `prior: {sample_size}`: they grow. With
            `modalities` an RGB encoder gets the other channels, without effect at first.
        size: side of the training pictures, at which they are damaged; larger pictures of the prior are averaged down
            to it. None: the smaller of encoder's and generator's; with `joint` always the generator's.
        compare_size: side to which both pictures are averaged before the losses (e4e compares at 256); None: `size`.
        learning_rate, betas: of the optimizer; (0.95, 0.999) are e4e's, (0.9, 0.999) Adam's own.
        optimizer: "ranger" (e4e's), "radam" (the same without look-ahead and centralised gradients) or "adam", see
            `train.engine.optimizers`; `joint` uses Adam.
        l2_weight, l1_weight: of the pixel losses: mean squared and mean absolute difference.
        guidance, latent, progressive: groups, see `EncoderGuidance`, `LatentCritic` and `Progressive`.
        pictures, adversarial, average, validation: groups, see `train.engine.options`. The discriminator of pictures
            belongs to `joint`; `average.decay` 0 keeps no average. Reconstructions of held-out pictures are scored;
            `validation.best` is "imagenet" (ImageNet distance; "psnr" where its weights are not installed), "psnr",
            "fid" or "fid-lite0".
        delta_weight: of the norm of the codes' offsets from the first.
        mixing_weight: of the adversarial loss in `joint` on pictures of mixed codes of two faces, so that sampling by
            mixing and interpolation works; with projected critics 0 or `adversarial.weight`.
        statistics_batches: batches over which an averaged encoder's batch statistics are measured.
        latent_samples: `joint`: faces whose mean codes become the generator's `latent_avg`.
        latent_kept: `joint`: faces whose codes go with the generator, for `facekit.sample_faces` to mix.
    """

    prior: Any
    joint: bool = False
    keep_encoder: bool = False
    encoder: dict[str, Any] = field(default_factory=dict)
    discriminator: dict[str, Any] = field(default_factory=dict)
    modalities: bool = False
    teacher: str | None = None
    teacher_weight: float = 1.0
    init_from: str | None = None
    size: int | None = None
    compare_size: int | None = None
    learning_rate: float = 1e-4
    betas: tuple[float, float] = (0.95, 0.999)
    optimizer: str = "ranger"
    l2_weight: float = 1.0
    l1_weight: float = 0.0
    delta_weight: float = 2e-4
    mixing_weight: float = 0.0
    statistics_batches: int = 16
    latent_samples: int = 1000
    latent_kept: int = 256

    guidance: EncoderGuidance = field(default_factory=EncoderGuidance)
    latent: LatentCritic = field(default_factory=LatentCritic)
    progressive: Progressive = field(default_factory=Progressive)
    pictures: FacePictures = field(
        default_factory=lambda: FacePictures(lpips_net="alex", perceptual_weight=0.8, identity_weight=0.5)
    )
    adversarial: Adversarial = field(default_factory=lambda: Adversarial(weight=0.1))
    average: Average = field(default_factory=lambda: Average(decay=0.0, min_decay=0.0))
    validation: BestValidation = field(default_factory=lambda: BestValidation(images=32, best="imagenet"))

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choices(self, optimizer=tuple(OPTIMIZERS))
        check_choices(self.validation, best=("psnr", "imagenet", *FIDS))
        if self.joint != isinstance(self.prior, dict):
            raise ValueError(
                "with joint, prior holds the generator's options; without it, a folder or Hub id of a trained one"
            )
        if self.adversarial.critic == "projected" and self.mixing_weight not in (
            0,
            self.adversarial.weight,
        ):
            raise ValueError(
                "projected critics judge both kinds of pictures alike: mixing_weight must be adversarial.weight"
            )
        if self.keep_encoder and not (self.joint and self.init_from):
            raise ValueError("keep_encoder needs joint training and, as init_from, the encoder that is kept")
        if self.keep_encoder and self.teacher is not None:
            raise ValueError(
                "an encoder that is kept learns from no teacher: leave out teacher or keep_encoder"
            )
        if self.joint and self.latent.weight > 0:
            raise ValueError(
                "joint training has no codes of a trained mapping network to compare with: latent.weight must be 0"
            )
        if self.joint and self.compare_size is not None:
            raise ValueError(
                "joint training compares and judges whole pictures of the generator: leave out compare_size"
            )
        if self.modalities and (self.joint or self.damage != "none"):
            raise ValueError(
                "modalities are read of whole pictures on a finished prior: joint false, damage none"
            )

    @property
    def has_critics(self) -> bool:
        """Whether anything judges pictures: in `joint` training alone."""
        return self.joint

    @property
    def compares_pictures(self) -> bool:
        """Whether any loss looks at the generator's picture."""
        faces = self.pictures.compares or self.pictures.identifies
        return faces or self.joint or max(self.l2_weight, self.l1_weight) > 0

    @property
    def needs_critic(self) -> bool:
        """Whether any loss of `joint` training looks at the picture discriminator, which learns only then."""
        mixes = self.adversarial.critic == "stylegan2" and self.mixing_weight > 0
        return mixes or needs_discriminator(self.pictures, self.adversarial)

    @property
    def judge(self) -> Adversarial | None:
        """The options of critics on ImageNet features, where they judge the pictures of `joint` training."""
        return self.adversarial if self.joint and self.adversarial.is_projected else None
