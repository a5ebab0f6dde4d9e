"""Options of the code diffuser's training."""

from dataclasses import dataclass, field
from typing import Any

from facekit.models.form import FORMS
from facekit.schedulers import CodeDiffusionScheduler
from train.checks import check_choices
from train.engine.options import Adversarial, FacePictures
from train.engine.stage import StageConfig


@dataclass(kw_only=True)
class CodeDiffuserConfig(StageConfig):
    """Options of the code diffuser's training; defaults are the thesis's (section 3.3.1), but for the form.

    Attributes:
        prior, style_encoder: folders or Hub ids of the frozen networks.
        diffuser: options of the network; the number and length of codes are the encoder's, the steps the scheduler's.
        form: "published": the network as in the published weights; "thesis": Eq. 3.4 to the letter. See `CodeDiffuser`.
        objective: "thesis": predict the noise added to the codes of the true face at a random step (Eq. 3.8), and
            compare the picture of the codes that a whole chain from noise ends with; "published": predict the clean
            codes, through the whole chain from the noised codes of the damaged face (L1).
        scheduler: options of `CodeDiffusionScheduler`; None: those of the objective.
        code_weight: weight of the loss on codes.
        size: side of the pictures that are compared; the prior's are averaged down to it. None: the smaller of
            encoder's and prior's.
        learning_rate, betas: of Adam.
        pictures, adversarial: groups, see `train.engine.options`; only projected critics can judge.
    """

    prior: str
    style_encoder: str
    diffuser: dict[str, Any] = field(default_factory=dict)
    form: str = "published"
    objective: str = "thesis"
    scheduler: dict[str, Any] | None = None
    code_weight: float = 1.0
    damage: str = "thesis"
    size: int | None = None
    learning_rate: float = 2e-4
    betas: tuple[float, float] = (0.5, 0.999)

    pictures: FacePictures = field(
        default_factory=lambda: FacePictures(perceptual_weight=0.1, identity_weight=0.1)
    )
    adversarial: Adversarial = field(default_factory=lambda: Adversarial(weight=0.0))

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choices(self, objective=("thesis", "published"), form=FORMS)
        if self.adversarial.is_whole:
            raise ValueError(
                "this stage trains no StyleGAN2 discriminator: say --adversarial.critic projected"
            )
        prediction = self.make_scheduler().config.prediction_type
        if prediction != ("epsilon" if self.objective == "thesis" else "sample"):
            raise ValueError(f"the {self.objective} objective cannot train a prediction of {prediction!r}")

    def make_scheduler(self) -> CodeDiffusionScheduler:
        """Build the scheduler that the options ask for."""
        if self.scheduler is not None:
            return CodeDiffusionScheduler(**self.scheduler)
        return CodeDiffusionScheduler() if self.objective == "thesis" else CodeDiffusionScheduler.published()
