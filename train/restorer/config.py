"""Options of the restorer's training."""

from dataclasses import dataclass, field
from typing import Any

from facekit.models.form import FORMS
from train.checks import check_choices
from train.engine.options import FIDS, Adversarial, Average, BestValidation, FacePictures
from train.engine.stage import StageConfig

# Thesis Table 3.3: what each variant changes.
ABLATIONS: dict[str, dict[str, Any]] = {
    "none": {},
    "a": {},  # the code diffuser, which is not an option of the restorer
    "b": {"use_smart": False},
    "c": {"use_style_codes": False},
    "d": {"use_prior_features": False},
}


@dataclass(kw_only=True)
class RestorerConfig(StageConfig):
    """Options of the restorer's training; defaults are the thesis's (section 3.3.1), but for the form.

    Attributes:
        prior, style_encoder, code_diffuser: folders or Hub ids of the frozen networks; the diffuser's holds
            `scheduler` too. Without `code_diffuser` only ablation a can run.
        prompts: false trains with zeros in place of codes and features, a first stage that needs no other network:
            `restorer` must then give all sizes, and the codes have no effect at the beginning of the next stage.
        restorer, discriminator: options of the two networks.
        form: "published": the restorer as in the published weights; "thesis": Eq. 3.5 to 3.7 to the letter. See
            `RestoreAutoEncoder`.
        discriminator_from: folder or Hub id of a discriminator to start from, for example the prior's.
        init_from: folder or Hub id of a restorer, of this form, to start from. Options in `restorer` that change no
            shapes (`dropout`, `residual`) may differ from its own.
        quiet_styles: begin with style layers that modulate almost nothing, see `train.starts.quiet`.
        ablation: "a" to "d" of Table 3.3.
        learning_rate, betas: of Adam; for the published code's see `train/configs/restorer/published.yaml`.
        l1_weight: of the pixel loss, mean absolute difference; not in the thesis (0), the starter uses it.
        chroma_weight: of such a loss on colour alone, see `chroma_distance`; not in the thesis (0), the starter uses it
            against coloured fringes, which critics hardly punish.
        style_mixing: probability that an update's random styles come from two z.
        pictures, adversarial, average, validation: groups, see `train.engine.options`. Held-out pictures are damaged
            by a fixed draw; `validation.best` is "psnr", "ssim", "imagenet" (ImageNet distance), "fid" or
            "fid-lite0".
    """

    prior: str | None = None
    style_encoder: str | None = None
    code_diffuser: str | None = None
    prompts: bool = True
    restorer: dict[str, Any] = field(default_factory=dict)
    discriminator: dict[str, Any] = field(default_factory=dict)
    form: str = "published"
    discriminator_from: str | None = None
    quiet_styles: bool = False
    init_from: str | None = None
    ablation: str = "none"
    damage: str = "thesis"
    learning_rate: float = 2e-4
    betas: tuple[float, float] = (0.5, 0.999)
    l1_weight: float = 0.0
    chroma_weight: float = 0.0
    style_mixing: float = 0.5

    pictures: FacePictures = field(
        default_factory=lambda: FacePictures(perceptual_weight=0.5, identity_weight=0.1)
    )
    adversarial: Adversarial = field(default_factory=Adversarial)
    average: Average = field(default_factory=lambda: Average(decay=0.997784, min_decay=0.997784))
    validation: BestValidation = field(default_factory=BestValidation)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choices(self, ablation=tuple(ABLATIONS), form=FORMS)
        check_choices(self.validation, best=("psnr", "ssim", "imagenet", *FIDS))
        if self.damage == "none":
            raise ValueError("the restorer learns to undo damage: choose a preset for damage")
        given = [self.prior, self.style_encoder, self.code_diffuser]
        if not self.prompts:
            if any(given) or self.ablation != "none":
                raise ValueError(
                    "prompts: false takes no prior, style_encoder and code_diffuser, and no ablation"
                )
            return
        if self.prior is None or self.style_encoder is None:
            raise ValueError("name --prior and --style_encoder, or say --prompts false")
        if (self.code_diffuser is None) != (self.ablation == "a"):
            raise ValueError("ablation a is the one without code_diffuser, all others need it")
