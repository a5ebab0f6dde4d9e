"""What options of earlier versions are called now: the old names are refused with the new ones."""

from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from train.engine.groups import find_groups

# "group.option", or the plain name of an option.
RENAMED = {
    "critic": "adversarial.critic",
    "adversarial_weight": "adversarial.weight",
    "projected_weight": "adversarial.weight",
    "r1_weight": "adversarial.r1_weight",
    "r1_every": "adversarial.r1_every",
    "discriminator_learning_rate": "adversarial.learning_rate",
    "discriminator_betas": "adversarial.betas",
    "critic_channels": "adversarial.channels",
    "critic_learning_rate": "adversarial.projected_learning_rate",
    "patch_weight": "adversarial.patch_weight",
    "patch_learning_rate": "adversarial.patch_learning_rate",
    "mask_patch_loss": "adversarial.mask_patch_loss",
    "ema_decay": "average.decay",
    "ema_min_decay": "average.min_decay",
    "validation_data": "validation.data",
    "validation_split": "validation.split",
    "validation_images": "validation.images",
    "validation_masks": "validation.masks",
    "validation_semantics": "validation.semantics",
    "validate_every": "validation.every",
    "best_metric": "validation.best",
    "augment": "critic_augment.kind",
    "augment_policy": "critic_augment.policy",
    "augment_probability": "critic_augment.probability",
    "augment_target": "critic_augment.target",
    "augment_length": "critic_augment.length",
    "augment_every": "critic_augment.every",
    "perceptual": "pictures.perceptual",
    "perceptual_weight": "pictures.perceptual_weight",
    "perceptual_substitute": "pictures.substitute",
    "perceptual_reduction": "pictures.reduction",
    "lpips_net": "pictures.lpips_net",
    "identity_weight": "pictures.identity_weight",
    "identity_encoder": "pictures.identity_encoder",
    "parser_weight": "pictures.parser_weight",
    "parser": "pictures.parser",
    "path_weight": "path.weight",
    "path_every": "path.every",
    "path_batch_shrink": "path.batch_shrink",
    "path_decay": "path.decay",
    "semantics": "guidance.semantics",
    "semantics_folder": "guidance.semantics_folder",
    "face_parser": "guidance.face_parser",
    "thin_sketch": "guidance.thin_sketch",
    "modality_threshold": "guidance.threshold",
    "modality_rule": "guidance.rule",
    "unmasked_probability": "guidance.unmasked_probability",
    "exemplar_probability": "guidance.exemplar_probability",
    "edit_probability": "guidance.edit_probability",
    "edit_masks": "guidance.edit_masks",
    "latent_weight": "latent.weight",
    "latent_learning_rate": "latent.learning_rate",
    "latent_r1_weight": "latent.r1_weight",
    "latent_r1_every": "latent.r1_every",
    "latent_pool": "latent.pool",
    "progressive_start": "progressive.start",
    "progressive_every": "progressive.every",
    "attribute_weight": "attribute.weight",
    "attribute_distance": "attribute.distance",
    "spatial_weights": "spatial.weights",
    "spatial_attribute": "spatial.attribute",
    "spatial_perceptual": "spatial.perceptual",
    "sketch": "sketches.read",
    "sketch_dropout": "sketches.dropout",
    "sketch_partial": "sketches.partial",
    "clip_gradients": "gradient_clip",
}


def find_new_name(config_class: Any, old: str) -> str | None:
    """The name that an option of an earlier version has in a stage now; None where it has none, or never was one."""
    new = RENAMED.get(old)
    if new is None:
        return None
    group, _, option = new.rpartition(".")
    groups = find_groups(config_class)
    if not group:
        return new if option in {field.name for field in fields(config_class)} else None
    known = fields(groups[group]) if group in groups else ()
    return new if option in {field.name for field in known} else None


def refuse_old_names(config_class: Any, names: Iterable[str], where: str, way_out: str = "") -> None:
    """Refuse names of options of earlier versions.

    Args:
        config_class: of the stage's options.
        names: as they were given.
        where: they were given, for the message.
        way_out: a sentence at its end.

    Raises:
        ValueError: with each old name and the new one, or that the stage no longer has such an option.
    """
    known = {field.name for field in fields(config_class)}
    reasons = []
    for name in names:
        if name in RENAMED and name not in known:
            new = find_new_name(config_class, name)
            reasons.append(f"{name} is now {new}" if new else f"{name} is no option of this stage any more")
    if reasons:
        raise ValueError(f"{where}: {'; '.join(reasons)}{way_out}")
