"""The networks that the training of aggregation and refinement starts from, and whether they fit each other."""

from collections.abc import Callable
from typing import Any

from facekit.models.multimodal import MultimodalAggregation
from facekit.models.refiner import RefinementAutoEncoder
from facekit.models.style_encoder import StyleEncoder
from facekit.models.stylegan2 import StyleGAN2Generator
from train.checks import check_form
from train.data.modalities import ENCODER_CHANNELS
from train.engine.stage import load_component
from train.multimodal.ablation import AblatedRefiner
from train.multimodal.config import FUSIONS, MultimodalConfig
from train.starts.from_bank import start_from_bank
from train.starts.quiet import quieten_styles


def check_guides(encoder: StyleEncoder, prior: StyleGAN2Generator) -> None:
    """Refuse an encoder that does not read all modalities or whose codes do not fit the prior. Raises ValueError."""
    if encoder.config.in_channels != ENCODER_CHANNELS:
        raise ValueError(
            f"the style encoder reads {encoder.config.in_channels} channels; one trained with --modalities true, "
            f"which reads {ENCODER_CHANNELS}, is needed"
        )
    given = (encoder.config.num_styles, encoder.config.style_dim)
    if given[0] < prior.num_styles or given[1] != prior.config.style_dim:
        raise ValueError(
            f"the style encoder gives {given[0]} codes of {given[1]} numbers, the prior reads {prior.num_styles} of "
            f"{prior.config.style_dim}"
        )


def build_networks(
    config: MultimodalConfig, prior: StyleGAN2Generator, say: Callable[[str], None]
) -> tuple[MultimodalAggregation, RefinementAutoEncoder]:
    """Build aggregation and refiner for a prior, or load those of `init_from` and grow them to a larger `sample_size`.

    Args:
        say: tells the person at the terminal that a refiner has grown.

    Raises:
        ValueError: options or form differ from the networks of `init_from`, or the refiner is larger than the prior.
    """
    shared = ("style_dim", "channel_base", "max_channels")
    aggregation = MultimodalAggregation(**{"mask_channel": config.form == "published"} | config.aggregation)
    options: dict[str, Any] = {"form": config.form} | {name: prior.config[name] for name in shared}
    options |= {"sample_size": prior.config.sample_size, "in_channels": aggregation.config.channels}
    options |= config.refiner
    for name in shared:
        if options[name] != prior.config[name]:
            raise ValueError(
                f"the refiner has {name} {options[name]}, the prior {prior.config[name]}: they must agree"
            )
    if options["sample_size"] > prior.config.sample_size:
        raise ValueError(
            f"a refiner of {options['sample_size']} pixels needs a prior as large; it has {prior.config.sample_size}"
        )
    kind = RefinementAutoEncoder
    if config.ablation in FUSIONS:
        kind, options = AblatedRefiner, {"fusion": FUSIONS[config.ablation]} | options
    refiner = kind(**options)
    if config.init_from is not None:
        refiner, known = _continue_networks(config, aggregation, refiner, say)
        if config.bank_start:
            start_from_bank(refiner, prior, first_level=known)
        return aggregation, refiner
    if config.quiet_styles:
        # Codes speak softly, the global code not at all.
        quieten_styles(refiner, range(refiner.config.style_dim), share=0.2)
    if config.bank_start:
        start_from_bank(refiner, prior)
    return aggregation, refiner


def _continue_networks(
    config: MultimodalConfig,
    aggregation: MultimodalAggregation,
    refiner: RefinementAutoEncoder,
    say: Callable[[str], None],
) -> tuple[RefinementAutoEncoder, int]:
    """Give both networks the weights of `init_from`: the refiner, grown where it has to, and how many sizes it had.

    The aggregation is filled in place.
    """
    source = str(config.init_from)
    old = load_component(type(refiner), source, "refiner")
    check_form(old, config.form)
    learned = load_component(MultimodalAggregation, source, "aggregation")
    for ours, theirs, may in ((aggregation, learned, ()), (refiner, old, ("sample_size", "dropout"))):
        for name, value in ours.config.items():
            if not name.startswith("_") and name not in may and theirs.config.get(name) != value:
                raise ValueError(f"{source} has {name} {theirs.config.get(name)}, the options say {value}")
    aggregation.load_state_dict(learned.state_dict())
    if refiner.config.sample_size == old.config.sample_size:
        refiner.load_state_dict(old.state_dict())
    else:
        from train.starts.grow_refiner import grow_refiner

        grow_refiner(old, refiner)
        say(f"refiner: grown from {old.config.sample_size} to {refiner.config.sample_size} pixels")
    return refiner, len(old.channels)
