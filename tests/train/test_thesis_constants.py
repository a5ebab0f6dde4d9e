"""The constants of the thesis, line by line, against every preset named after it and against what the presets rely on.

A preset that says otherwise, or says nothing and falls back on a default that was changed, fails here. Lines are those
of the thesis's text (`thesis.txt` in the shared folder beside a checkout), and each entry quotes what stands there.
"""

import inspect
from pathlib import Path
from typing import Any

import pytest

from facekit.damage.degrade import get_config
from facekit.damage.gconv import gconv_mask
from facekit.damage.holes import CMOD
from facekit.losses.spatial_gradient import SpatialWeights
from facekit.models.residual_inpainter import ResidualInpainter
from facekit.schedulers import CodeDiffusionScheduler
from tests.train.test_stage_configs import CONFIGS, STAGES
from train.engine.config import read_yaml
from train.engine.groups import merge, nest
from train.inpaint.config import InpaintConfig

KNOWN = STAGES | {"inpaint": (InpaintConfig, {})}

# Line of the thesis, words that stand there, and the options that they settle, by their names on the command line.
Entry = tuple[int, str, dict[str, Any]]
VGG = {"pictures.perceptual": "lpips", "pictures.lpips_net": "vgg", "pictures.reduction": "mean"}
GAMMA = {"adversarial.critic": "stylegan2", "adversarial.weight": 1, "adversarial.r1_weight": 10}
NOT_NAMED = {"gradient_clip": None, "pictures.parser_weight": 0}  # the thesis has neither
NOT_AUGMENTED = {"critic_augment.kind": "none"}  # the same
STYLEGAN_ADAM: list[Entry] = [
    (1810, "employed the Adam optimizer", {}),
    (1812, "0.5, the second momentum coefficient of 0.99", {"betas": (0.5, 0.99)}),
    (1812, "the learning rate of 0.002", {"learning_rate": 0.002}),
    (1812, "800,000 iterations with a batch size of 8", {"max_steps": 800_000, "batch_size": 8}),
]
# e4e's own numbers, which the thesis takes over without stating them.
E4E = {
    "optimizer": "ranger",
    "betas": (0.95, 0.999),
    "learning_rate": 1e-4,
    "l2_weight": 1,
    "l1_weight": 0,
    "pictures.perceptual": "lpips",
    "pictures.lpips_net": "alex",
    "pictures.perceptual_weight": 0.8,
    "pictures.identity_weight": 0.5,
    "latent.weight": 0.1,
    "latent.learning_rate": 2e-5,
    "latent.r1_weight": 10,
    "latent.r1_every": 16,
    "latent.pool": 50,
    "delta_weight": 2e-4,
    "progressive.start": 20_000,
    "progressive.every": 2_000,
    "average.decay": 0,
    "joint": False,
}

GRIG: list[Entry] = [
    (988, r"$\lambda_{\text{lpips}} = 1.5$", {"pictures.perceptual_weight": 1.5}),
    (988, r"$\lambda_{\text{adv}} = 1$", {"adversarial.weight": 1, "adversarial.critic": "grig"}),
    (988, r"$\lambda_{\text{patch}} = 1$", {"adversarial.patch_weight": 1}),
    (942, r"\odot X", {"adversarial.mask_patch_loss": True}),
    (988, "T = 3", {"reasoning_steps": 3, "random_steps": False, "single_step_iterations": 0}),
    (988, r"$\beta_1 = 0.5$, second momentum coefficient $\beta_2 = 0.999$", {"betas": (0.5, 0.999)}),
    (988, "learning rate 0.0002", {"learning_rate": 2e-4, "adversarial.learning_rate": None}),
    (988, "CMOD mask generation algorithm", {"masks": {"kind": "cmod"}}),
    (902, "pre-trained", {"backbone_init": "pretrained"}),
    (896, "spectral norm", {"form": "thesis"}),
    (902, "scalar", {"form": "thesis"}),
    (902, "EfficientNet-Lite1", {"projected.backbone": "tf_efficientnet_lite1"}),
    (1020, "batch size of 8", {"batch_size": 8}),
    (1020, "resized to a resolution of 256", {"size": None}),
    (
        962,
        "Update G",
        {"update_order": "thesis", "pixel_weight": 0, "ablation": "none"} | VGG | NOT_NAMED,
    ),
]

THESIS: dict[str, list[Entry]] = {
    "style_encoder/paper": [
        (634, "training objectives from e4e", E4E | NOT_NAMED),
        (634, "degraded images are input", {"damage": "thesis", "damage_probability": 1}),
        (697, "resized to the 512", {"size": 512, "compare_size": 256}),  # the latter is e4e's
        (
            695,
            "training 150,000 iterations with a batch size of 16",
            {"max_steps": 150_000, "batch_size": 16},
        ),
    ],
    "code_diffuser/paper": [
        (589, "(3.4)", {"form": "thesis"}),
        (640, r"\| \boldsymbol{\epsilon} - \hat{\boldsymbol{\epsilon}}^t \|^2", {"objective": "thesis"}),
        (651, "feature extractor VGG", VGG),
        (
            662,
            r"\mathcal{L}_{dm}^{(\theta_p)} + \lambda_{lpips}",
            {"code_weight": 1, "adversarial.weight": 0},
        ),
        (664, r"$\lambda_{lpips} = 0.1$", {"pictures.perceptual_weight": 0.1}),
        (664, r"$\lambda_{id} = 0.1$", {"pictures.identity_weight": 0.1}),
        (695, "200,000 iterations with a batch size of 8", {"max_steps": 200_000, "batch_size": 8}),
        (695, "coefficients 0.5 and 0.999", {"betas": (0.5, 0.999)}),
        (695, "learning rate 0.0002", {"learning_rate": 2e-4}),
        (697, "resized to the 512", {"size": 512}),
        (697, "generated degraded images", {"damage": "thesis"} | NOT_NAMED),
    ],
    "restorer/paper": [
        (605, r"\text{Down}(\text{SC}(", {"form": "thesis"}),
        (677, r"$\gamma = 10$", GAMMA),
        (684, r"$\hat{\lambda}_{id} = 0.1$", {"pictures.identity_weight": 0.1}),
        (684, r"$\hat{\lambda}_{lpips} = 0.5$", {"pictures.perceptual_weight": 0.5}),
        (695, "500,000 iterations using a batch size of 4", {"max_steps": 500_000, "batch_size": 4}),
        (695, "coefficients 0.5 and 0.999", {"betas": (0.5, 0.999), "adversarial.betas": None}),
        (695, "learning rate 0.0002", {"learning_rate": 2e-4, "adversarial.learning_rate": None}),
        (697, "resized to the 512", {"restorer.sample_size": 512}),
        (697, "generated degraded images", {"damage": "thesis"} | VGG | NOT_NAMED),
        (668, "The LPIPS loss", {"l1_weight": 0, "chroma_weight": 0, "ablation": "none"}),
    ],
    "inpaint/thesis": [
        *GRIG,
        (1026, "400,000 image batches", {"max_steps": 400_000}),
        (
            1026,
            "In the small-scale setting, differentiable data augmentation",
            {"augment": "color,translation"},
        ),
    ],
    "inpaint/thesis-large": [
        *GRIG,
        (1045, "1,000,000 image batches", {"max_steps": 1_000_000, "augment": ""}),
    ],
    "inpaint/thesis-large-places365": [
        *GRIG,
        (1045, "2,000,000 image batches on Places365", {"max_steps": 2_000_000, "augment": ""}),
    ],
    "exemplar/thesis": [
        (1268, r"\phi = [0, 0, 0, 0, 1, 1, ..., 1]", {"exemplar_layers": None, "exemplar_jitter": 0}),
        (1385, "resized to 256", {"multi_style_generator.sample_size": 256} | NOT_AUGMENTED),
        (1295, r"$\gamma = 10$", GAMMA),
        (1308, "we adopt VGG", VGG | NOT_NAMED),
        (1312, r"\frac{1}{\|\phi\|_0}", {"attribute.distance": "norm"}),
        (1325, r"$\lambda_{id} = 0.1$", {"pictures.identity_weight": 0.1}),
        (1325, r"$\lambda_{lpips} = 0.5$", {"pictures.perceptual_weight": 0.5}),
        (1325, r"$\lambda_{attr} = 0.1$", {"attribute.weight": 0.1}),
        (
            1349,
            "spatial variant LPIPS and attribute losses",
            {"spatial.attribute": True, "spatial.perceptual": True},
        ),
        (1353, r"$\tau = 0.1$", {"same_image_probability": 0.1, "exemplars": "sampled"}),
        (
            1377,
            "first momentum coefficient of 0.5, the second momentum coefficient of 0.99",
            {"betas": (0.5, 0.99)},
        ),
        (1377, "learning rate of 0.002", {"learning_rate": 0.002, "lazy_rates": False}),
        (1377, "Mixing regularization [60] with a probability of 0.5", {"style_mixing": 0.5}),
        (1377, "Gaussian kernel is with size 64", {"spatial.weights": {"kernel_size": 64, "sigma": 40.0}}),
        (1377, "free-form mask sampling strategy", {"masks": {"kind": "gconv"}, "shared_mask": False}),
        (1385, "800,000 iterations with batch size of 8", {"max_steps": 800_000, "batch_size": 8}),
        (1385, "resized to 256", {"multi_style_generator.sample_size": 256}),
        (
            1322,
            r"\lambda_{attr}",
            {"l1_weight": 0, "path.every": 0, "update_order": "thesis", "fewer_layers": 0},
        ),
    ],
    "latent_warper/thesis": [
        (2001, r"LayerNorm(a^{p} + a^{c}) \odot", {"form": "thesis"}),
        (1761, r"\lambda_{latent} \cdot", VGG | NOT_NAMED),
        (1763, "empirically set to 0.1", {"attribute.weight": 0.1, "pictures.perceptual_weight": 0.1}),
        (1763, "empirically set to 0.1", {"pictures.identity_weight": 0.1}),
        (1779, r"\|w^x - w^y\|_2", {"attribute.distance": "full_norm"}),
        (1810, "Adam", {"optimizer": "adam"}),
        *STYLEGAN_ADAM,
    ],
    "style_encoder/multimodal-thesis": [
        (1745, "the loss functions defined in e4e", E4E | NOT_NAMED),
        (1745, "26 channels", {"modalities": True, "teacher": None, "damage": "none"}),
        (1806, "pencil-sketch filter", {"guidance.thin_sketch": 0}),
        (2106, "r = i", {"guidance.rule": "thesis"}),
        (2107, r"\mathcal{M} \odot \mathcal{I}_i", {"guidance.unmasked_probability": 0}),
        (2109, "zero tensor", {"guidance.exemplar_probability": 0, "guidance.edit_probability": 0}),
    ],
    "multimodal/thesis": [
        (1719, r"\text{UP}(\text{SC}(", {"form": "thesis"} | NOT_AUGMENTED),
        (1818, "256", {"refiner.sample_size": 256, "guide_size": 256}),
        (2054, r"\|w^o - \overline{w}\|_2", {"attribute.distance": "full_norm"}),
        (2041, "feature extractor VGG", VGG | NOT_NAMED),
        (2063, r"$\gamma = 10$", GAMMA),
        (2073, r"$\lambda_{id} = 0.1$", {"pictures.identity_weight": 0.1}),
        (2073, r"$\lambda_{lpips} = 0.5$", {"pictures.perceptual_weight": 0.5}),
        (2073, r"$\lambda_{attr} = 0.1$", {"attribute.weight": 0.1}),
        (2088, r"$\rho = 0.5$", {"same_image_probability": 0.5, "projected_probability": 0}),
        (2088, r"$\omega = 0.8$", {"guidance.threshold": 0.8, "guidance.gaps": "thesis"}),
        (1806, "without any manual annotation", {"guidance.semantics": "parser"}),
        (1806, "mask generation algorithm from CMOD", {"masks": {"kind": "cmod"}}),
        (1806, "pencil-sketch filter", {"guidance.thin_sketch": 0}),
        (2067, r"\lambda_{attr}", {"l1_weight": 0, "lazy_rates": False, "ablation": "none"}),
        (2045, r"\operatorname{Mixing}", {"random_codes": "mapping", "bank_codes": "projected"}),
        *STYLEGAN_ADAM,
    ],
    # Trained by others in the thesis: StyleGAN2's own numbers, at the size of chapter 3.
    "prior/paper": [
        (632, "pre-trained StyleGAN", {"learning_rate": 0.002, "betas": (0.0, 0.99), "path.weight": 2}),
        (697, "resized to the 512", {"prior.sample_size": 512, "adversarial.r1_weight": 10}),
    ],
}


def configured(preset: str) -> Any:
    config_class, needed = KNOWN[preset.split("/")[0]]
    values = merge(nest(needed), read_yaml(CONFIGS / f"{preset}.yaml"))
    return config_class(data="folder", output_dir="runs/x", **values)


def look_up(config: Any, option: str) -> Any:
    group, _, name = option.rpartition(".")
    place = getattr(config, group) if group else config
    return place[name] if isinstance(place, dict) else getattr(place, name)


@pytest.mark.parametrize("preset", list(THESIS))
def test_presets_have_the_constants_of_the_thesis(preset: str) -> None:
    config = configured(preset)
    for line, words, options in THESIS[preset]:
        for option, wanted in options.items():
            found = look_up(config, option)
            found = tuple(found) if isinstance(found, list) else found
            assert found == wanted, f"{option} is {found}; line {line} of the thesis ({words}) has {wanted}"


def test_every_preset_of_that_name_is_in_the_table() -> None:
    named = {
        f"{path.parent.name}/{path.stem}"
        for path in CONFIGS.rglob("*.yaml")
        if "thesis" in path.stem or "paper" in path.stem
    }
    assert named == THESIS.keys()


def defaults(function: Any) -> dict[str, Any]:
    return {name: value.default for name, value in inspect.signature(function).parameters.items()}


# Line, words, what is there now, what the thesis has: constants of the library that no preset states.
DAMAGE = get_config("thesis")
RELIED_ON: list[tuple[int, str, Any, Any]] = [
    (695, "T = 4", CodeDiffusionScheduler().config.num_train_timesteps, 4),
    (695, r"increased linearly", CodeDiffusionScheduler().config.beta_schedule, "linear"),
    (695, "= 0.1", CodeDiffusionScheduler().config.beta_start, 0.1),
    (695, "= 0.99", CodeDiffusionScheduler().config.beta_end, 0.99),
    (640, r"\boldsymbol{\epsilon}", CodeDiffusionScheduler().config.prediction_type, "epsilon"),
    (711, r"\sigma \in [0.2, 10]", DAMAGE.sigma, (0.2, 10)),
    (711, r"r \in [1, 8]", DAMAGE.scale, (1, 8)),
    (711, r"\delta \in [0, 20]", DAMAGE.noise, (0, 20)),
    (711, r"q \in [60, 100]", DAMAGE.quality, (60, 100)),
    (697, "a Gaussian blur kernel", DAMAGE.anisotropic_probability, 0),
    (697, r"\uparrow_r", (DAMAGE.haze_probability, DAMAGE.gray_probability), (0, 0)),
    (1020, "resized to a resolution of 256", defaults(ResidualInpainter)["sample_size"], 256),
    (1377, "maxVertex of 20", defaults(gconv_mask)["max_vertices"], 20),
    (1377, "maxLength of 100", defaults(gconv_mask)["max_length"], 100),
    (1377, "maxBrushWidth of 24", defaults(gconv_mask)["max_width"], 24),
    (1377, "[0, 5]", defaults(gconv_mask)["large_rectangles"], 5),
    (1377, "[0, 10]", defaults(gconv_mask)["small_rectangles"], 10),
    (
        1377,
        "up-tohalf-size",
        (defaults(gconv_mask)["large_side"], defaults(gconv_mask)["small_side"]),
        (None,) * 2,
    ),
    (1377, "Gaussian kernel is with size 64", SpatialWeights().kernel_size, 64),
    (1377, "standard deviation is 40", SpatialWeights().sigma, 40),
    # CoModGAN's own counts, which the thesis takes over without stating them.
    (988, "CMOD mask", (CMOD.small_rectangles, CMOD.large_rectangles, CMOD.strokes), (10, 5, 20)),
]


@pytest.mark.parametrize(("line", "words", "found", "wanted"), RELIED_ON, ids=lambda value: str(value)[:24])
def test_what_presets_rely_on(line: int, words: str, found: Any, wanted: Any) -> None:
    assert found == wanted, f"line {line} of the thesis: {words}"


def test_the_thesis_says_so(shared_dir: Path) -> None:
    """Every entry's words stand in its line."""
    lines = (shared_dir / "thesis.txt").read_text().split("\n")
    quoted = [(line, words) for entries in THESIS.values() for line, words, _ in entries]
    quoted += [(line, words) for line, words, _, _ in RELIED_ON]
    wrong = [(line, words) for line, words in quoted if words not in lines[line - 1]]
    assert wrong == []
