"""Feature networks of the metrics, each behind one function `uint8 [N, H, W, 3] -> features`.

Weights come from the package that keeps the network, or from a file that the user names. Without either,
`WeightsUnavailable` is raised; no other network is used under the same name.
"""

import itertools
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from facekit.metrics.errors import WeightsUnavailable
from facekit.weights.checkpoints import read_checkpoint
from facekit.weights.imagenet import load_efficientnet_lite

Features = Callable[[np.ndarray], np.ndarray]
PairDistance = Callable[[np.ndarray, np.ndarray], np.ndarray]
CHUNK = 16
LITE0_SIDE = 224  # what EfficientNet-Lite0 was trained on


def features_of(network: Features, pictures: Iterable[np.ndarray]) -> np.ndarray:
    """Features [N, D] of N pictures uint8 [H, W, 3] of one size, a few of which are in memory at a time.

    Raises:
        ValueError: there is no picture, or their sizes differ.
    """
    rest = iter(pictures)
    parts = []
    while chunk := list(itertools.islice(rest, CHUNK)):
        parts.append(network(np.stack(chunk)))
    if not parts:
        raise ValueError("there is no picture to look at")
    return np.concatenate(parts)


def inception_features(weights: str | Path | None = None, device: str = "cpu") -> Features:
    """The 2048 features of the FID's Inception network, as torch-fidelity has it (299x299, its own resizing).

    Args:
        weights: its state dict as safetensors or .pth; None: torch's hub cache, or a download.

    Raises:
        WeightsUnavailable: torch-fidelity or the weights are not to be had.
    """
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError as error:
        raise WeightsUnavailable(
            "Inception features need torch-fidelity: pip install 'facekit[metrics]'"
        ) from error
    try:
        with tempfile.TemporaryDirectory() as folder:
            network = FeatureExtractorInceptionV3(
                "inception-v3-compat",
                ["2048"],
                feature_extractor_weights_path=_checked_weights(weights, Path(folder)),
            )
    except Exception as error:  # urllib, ssl, torch.hub and torch.load each raise their own
        raise WeightsUnavailable(
            f"the weights of the Inception network are neither here nor downloadable ({error}); "
            "fetch them with torch-fidelity on a machine with network, or name a file"
        ) from error
    network.to(device).requires_grad_(False).eval()

    @torch.inference_mode()
    def features(pictures: np.ndarray) -> np.ndarray:
        tensor = torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).to(device)
        return network(tensor)[0].flatten(1).float().cpu().numpy()

    return features


def _checked_weights(weights: str | Path | None, folder: Path) -> str | None:
    """A file that torch-fidelity may unpickle: the user's weights, read without running code and written anew."""
    if weights is None:
        return None
    state = read_checkpoint(weights)
    clean = folder / "inception.pth"
    torch.save(state, clean)
    return str(clean)


def lite0_features(device: str = "cpu") -> Features:
    """The 1280 features that EfficientNet-Lite0 classifies by, averaged over the picture.

    Pictures of any size are resized to 224x224, with antialiasing. It is not the Inception network of the FID, so
    distances in these features carry this network's name.

    Raises:
        WeightsUnavailable: the package that carries its ImageNet weights, or timm, is not installed.
    """
    try:
        network: Any = load_efficientnet_lite(0)  # timm's networks have methods of their own
    except OSError as error:
        raise WeightsUnavailable(str(error)) from error
    # Depthwise convolutions are several times faster in this layout.
    network.to(device, memory_format=torch.channels_last).requires_grad_(False)

    @torch.inference_mode()
    def features(pictures: np.ndarray) -> np.ndarray:
        scaled = _scale(pictures, device, LITE0_SIDE).contiguous(memory_format=torch.channels_last)
        # A training script may ask from within its own autocast.
        with torch.autocast(scaled.device.type, enabled=False):
            pooled = network.forward_head(network.forward_features(scaled), pre_logits=True)
        return pooled.cpu().numpy()

    return features


def style_features(folder: str | Path, device: str = "cpu") -> Features:
    """Features that need no download: the style codes of a facekit style encoder, flattened to [N, n D].

    They are not those of the FID's Inception network, so distances in them carry this network's name.
    """
    from facekit.models.style_encoder import StyleEncoder

    path = Path(folder)
    subfolder = "style_encoder" if (path / "style_encoder").is_dir() or not path.exists() else None
    options: dict[str, Any] = {} if subfolder is None else {"subfolder": subfolder}
    encoder = StyleEncoder.from_pretrained(str(folder), **options).to(device).eval()
    side = encoder.config.sample_size

    @torch.inference_mode()
    def features(pictures: np.ndarray) -> np.ndarray:
        return encoder(_scale(pictures, device, side)).flatten(1).float().cpu().numpy()

    return features


def _scale(pictures: np.ndarray, device: str, side: int) -> torch.Tensor:
    """uint8 [N, H, W, 3] -> [N, 3, side, side] in [-1, 1]."""
    writable = np.require(pictures, requirements=["C", "W"])  # PyTorch warns of others
    tensor = torch.from_numpy(writable).permute(0, 3, 1, 2).to(device).float()
    tensor = tensor / 127.5 - 1
    if tuple(tensor.shape[2:]) == (side, side):
        return tensor
    return torch.nn.functional.interpolate(tensor, (side, side), mode="bilinear", antialias=True)


def identity_embeddings(folder: str | Path, device: str = "cpu") -> Features:
    """Unit embeddings of a face identity network that the user names, see `load_face_identity`.

    Raises:
        OSError, ValueError: there is none.
    """
    from facekit.models.identity_networks import load_face_identity

    encoder = load_face_identity(folder).to(device).eval()

    @torch.inference_mode()
    def features(pictures: np.ndarray) -> np.ndarray:
        return encoder(_scale(pictures, device, 256)).float().cpu().numpy()

    return features


def lpips_distance(net: str = "vgg", device: str = "cpu") -> PairDistance:
    """LPIPS v0.1 of picture pairs uint8 [N, H, W, 3] -> [N].

    Raises:
        WeightsUnavailable: the backbone's ImageNet weights are not to be had.
    """
    from facekit.losses.perceptual import LPIPSLoss

    return _pair_distance(lambda: LPIPSLoss(net), device)


def imagenet_distance(device: str = "cpu") -> PairDistance:
    """ImageNet distance (on maps of EfficientNet-Lite0) of picture pairs uint8 [N, H, W, 3], at their size -> [N].

    Raises:
        WeightsUnavailable: the package that carries the ImageNet weights, or timm, is not installed.
    """
    from facekit.losses.imagenet import ImageNetDistance

    return _pair_distance(ImageNetDistance, device)


def _pair_distance(make: Callable[[], torch.nn.Module], device: str) -> PairDistance:
    """A loss of two pictures in [-1, 1] as a measure; an OSError of `make` says that its weights are missing."""
    try:
        loss = make().to(device)
    except OSError as error:
        raise WeightsUnavailable(str(error)) from error

    @torch.inference_mode()
    def distance(image: np.ndarray, truth: np.ndarray) -> np.ndarray:
        side = image.shape[1]
        return loss(_scale(image, device, side), _scale(truth, device, side)).cpu().numpy()

    return distance


def niqe_score(device: str = "cpu") -> Features:
    """NIQE per picture through pyiqa.

    Raises:
        WeightsUnavailable: pyiqa (an extra of its own) or its statistics are not to be had.
    """
    try:
        import pyiqa
    except ImportError as error:
        raise WeightsUnavailable("NIQE needs the package pyiqa: pip install pyiqa") from error
    try:
        metric = pyiqa.create_metric("niqe", device=torch.device(device))
    except Exception as error:  # its downloader raises what its transport does
        raise WeightsUnavailable(f"the statistics of NIQE are not to be had ({error})") from error

    @torch.inference_mode()
    def scores(pictures: np.ndarray) -> np.ndarray:
        tensor = torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).to(device).float() / 255
        return metric(tensor).flatten().float().cpu().numpy()

    return scores


def emotion_recogniser(
    model: str = "enet_b0_8_best_afew", device: str = "cpu"
) -> Callable[[Sequence[np.ndarray]], list[str]]:
    """A function from faces uint8 [H, W, 3] to the names of their emotions, by emotiefflib (HSEmotion's successor).

    Raises:
        WeightsUnavailable: emotiefflib (an extra) or its weights are not to be had.
    """
    try:
        from emotiefflib.facial_analysis import EmotiEffLibRecognizer
    except ImportError as error:
        raise WeightsUnavailable(
            "emotion recognition needs emotiefflib: pip install 'facekit[emotion]'"
        ) from error
    try:
        recogniser = EmotiEffLibRecognizer(engine="onnx", model_name=model, device=device)
    except Exception as error:
        raise WeightsUnavailable(f"the weights of {model} are not to be had ({error})") from error

    def names(faces: Sequence[np.ndarray]) -> list[str]:
        return list(recogniser.predict_emotions(list(faces), logits=True)[0])

    return names


def fan_landmarks(device: str = "cpu") -> Callable[[np.ndarray], np.ndarray | None]:
    """A function from a picture to the 68 landmarks [68, 2] of its face, by face-alignment's FAN; None without a face.

    Raises:
        WeightsUnavailable: face-alignment (an extra) or its weights are not to be had.
    """
    try:
        import face_alignment
    except ImportError as error:
        raise WeightsUnavailable("FAN needs face-alignment: pip install 'facekit[landmarks]'") from error
    try:
        network = face_alignment.FaceAlignment(face_alignment.LandmarksType.TWO_D, device=device)
    except Exception as error:
        raise WeightsUnavailable(f"the weights of FAN are not to be had ({error})") from error

    def landmarks(picture: np.ndarray) -> np.ndarray | None:
        found = network.get_landmarks(picture)
        return None if not found else np.asarray(found[0])

    return landmarks
