"""Options of GRIG's training."""

from dataclasses import dataclass, field
from typing import Any

from facekit.models.form import FORMS
from train.checks import check_choices
from train.data.augment import parse_policy
from train.engine.options import FIDS, Average, MaskedValidation, Pictures
from train.engine.stage import StageConfig

# Thesis Table 4.5: what each variant changes.
ABLATIONS: dict[str, dict[str, Any]] = {
    "none": {},
    "A": {"patch_discriminator": "none"},
    "B": {"use_projected": False},
    "C": {"patch_discriminator": "patchgan"},
    "D": {"patch_discriminator": "sm-patchgan"},
    "E": {"use_transformer": False},
}


@dataclass(kw_only=True)
class InpaintAdversarial:
    """GRIG's two adversarial losses.

    Attributes:
        critic: the image-level discriminator: "grig", the projected one of the thesis, or "projected", small critics
            with hinge losses on the maps that `pictures.perceptual: efficientnet` compares, which costs less.
        weight, patch_weight: of the two terms; a discriminator of weight 0 is neither computed nor trained, unless
            feature matching reads it.
        mask_patch_loss: whether the generator's patch loss counts forged patches only (thesis Eq. 4.5); the published
            code counts all.
        learning_rate: of the discriminators; None: the generator's, and 1e-3 for critics of `critic: projected`.
        patch_learning_rate: of the patch discriminator alone; None: that of the other one.
    """

    critic: str = "grig"
    weight: float = 1.0
    patch_weight: float = 1.0
    mask_patch_loss: bool = True
    learning_rate: float | None = None
    patch_learning_rate: float | None = None

    def __post_init__(self) -> None:
        check_choices(self, critic=("grig", "projected"))

    @property
    def is_projected(self) -> bool:
        """Whether critics on ImageNet features judge the fills."""
        return self.critic == "projected" and self.weight > 0


@dataclass(kw_only=True)
class InpaintConfig(StageConfig):
    """Options of GRIG's training; defaults are the thesis's (section 4.3.1), but for the form; those of the
    published code are named.

    Attributes:
        augment: parts of DiffAugment on the ground truth, "color,translation" in the published code, "" for none.
        masks: options of `facekit.damage.mixtures.MaskSampler`.
        reasoning_steps: T of Algorithm 1; Table 4.6 tries 1, 3, 5, 7, 9.
        random_steps: draw the T of each training step from 1 to `reasoning_steps`, the same in all processes, which
            is cheaper and keeps the first reasoning step good.
        single_step_iterations: number of training steps at the beginning that use T = 1: refining pays once there is
            something to refine.
        ablation: "A" to "E" of Table 4.5.
        update_order: "thesis" (G, E, D) or "published" (E, D, then G against the updated discriminators).
        learning_rate, betas: of Adam.
        backbone_init: the projected discriminator's frozen classifier: "pretrained" (thesis; ImageNet weights
            through timm), "published" (the same, its convolutions then overwritten by the initialiser: only the
            running statistics survive), or "random" (nothing to download).
        freeze_batch_statistics: normalise with running statistics while training, as inference will. The critics of
            `adversarial.critic: projected`, which inference does not use, always normalise with the batch's.
        statistics_batches: number of batches over which those running statistics are measured: when a run that freezes
            them starts, in other runs for the averaged weights; 0 takes them as training left them (published).
        form: "published": generator and projected discriminator as in the published weights; "thesis": spectral norm on
            all convolutions of the one, a scalar from the other. See `ResidualInpainter` and `ProjectedDiscriminator`.
        inpainter, projected, patch: options of the three networks; the form of the first two is `form`.
        init_from: pipeline folder or Hub id whose generator, of this form, the run starts from, instead of random
            weights.
        pixel_weight: of the mean absolute difference in the hole; not in the thesis (0), the starter uses it.
        diversity_weight: of a term that keeps fills of two codes apart, for an inpainter with `style_dim` above 0; the
            thesis leaves diversity to future work (section 7.2), so 0, and the form is ours, see
            `train.inpaint.losses.diversity_loss`.
        diversity_margin: how far apart: mean absolute difference in the hole, of colours in [-1, 1].
        pictures, adversarial, average, validation: groups, see `train.engine.options` and `InpaintAdversarial`.
            `validation.best` is "psnr", "ssim", "mae", "lpips", "imagenet", "fid" or "fid-lite0".
        size: side of the training pictures, when it is not the generator's `sample_size` (progressive resizing).
        channels_last: memory layout; plain NCHW trains faster on processors without wide vector units.
    """

    augment: str = "color,translation"
    masks: dict[str, Any] = field(default_factory=lambda: {"kind": "cmod"})
    reasoning_steps: int = 3
    random_steps: bool = False
    single_step_iterations: int = 0
    ablation: str = "none"
    update_order: str = "thesis"
    learning_rate: float = 2e-4
    betas: tuple[float, float] = (0.5, 0.999)
    backbone_init: str = "pretrained"
    freeze_batch_statistics: bool = False
    statistics_batches: int = 0
    init_from: str | None = None
    size: int | None = None
    channels_last: bool = True
    form: str = "published"
    inpainter: dict[str, Any] = field(default_factory=dict)
    projected: dict[str, Any] = field(default_factory=dict)
    patch: dict[str, Any] = field(default_factory=dict)

    pixel_weight: float = 0.0
    diversity_weight: float = 0.0
    diversity_margin: float = 0.1
    pictures: Pictures = field(default_factory=lambda: Pictures(perceptual_weight=1.5))
    adversarial: InpaintAdversarial = field(default_factory=InpaintAdversarial)
    average: Average = field(default_factory=lambda: Average(decay=0.999, min_decay=0.999))
    validation: MaskedValidation = field(default_factory=MaskedValidation)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choices(
            self,
            ablation=tuple(ABLATIONS),
            update_order=("thesis", "published"),
            backbone_init=("pretrained", "published", "random"),
            form=FORMS,
        )
        check_choices(self.validation, best=("psnr", "ssim", "mae", "lpips", "imagenet", *FIDS))
        if self.damage != "none":
            raise ValueError(f"holes are filled in whole pictures: damage must be none, got {self.damage}")
        if not 1 <= self.reasoning_steps <= 100:
            raise ValueError(f"reasoning_steps must be between 1 and 100, got {self.reasoning_steps}")
        for name in ("inpainter", "projected"):
            if "form" in getattr(self, name):
                raise ValueError(f"{name} has the form that the run has: say --form, not {name}: {{form}}")
        parse_policy(self.augment)
        if self.diversity_weight < 0 or not 0 < self.diversity_margin <= 2:
            raise ValueError(
                "diversity_weight must be 0 or more and diversity_margin above 0 and at most 2; got "
                f"{self.diversity_weight} and {self.diversity_margin}"
            )

    @property
    def has_critics(self) -> bool:
        """Whether anything judges whole pictures."""
        return ABLATIONS[self.ablation].get("use_projected", True)

    @property
    def matches_features(self) -> bool:
        """Whether a loss may compare features of GRIG's own discriminators, whatever its weight."""
        substituted = self.pictures.perceptual == "lpips" and self.pictures.substitute == "feature_matching"
        return self.pictures.perceptual == "feature_matching" or substituted
