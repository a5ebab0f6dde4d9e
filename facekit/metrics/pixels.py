"""Pixel measures of picture pairs, uint8 [H, W, 3]: PSNR and SSIM through scikit-image."""

import numpy as np


def _check(image: np.ndarray, truth: np.ndarray) -> None:
    for name, picture in (("image", image), ("truth", truth)):
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
            raise ValueError(
                f"{name} must be uint8 [H, W, 3], not {picture.dtype} {list(picture.shape)}; convert it to RGB"
            )
    if image.shape != truth.shape:
        raise ValueError(f"pictures of {list(image.shape)} and {list(truth.shape)} cannot be compared")


def psnr(image: np.ndarray, truth: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB, over all channels; infinite for equal pictures.

    Raises:
        ValueError: other types or shapes, or shapes that differ.
    """
    _check(image, truth)
    error = np.square(image.astype(np.float64) - truth.astype(np.float64)).mean()
    return float("inf") if error == 0 else float(10 * np.log10(255.0**2 / error))


def ssim(image: np.ndarray, truth: np.ndarray) -> float:
    """Structural similarity (Wang et al. 2004: Gaussian window of 11 pixels, sigma 1.5), mean over channels.

    Raises:
        ValueError: other types or shapes, shapes that differ, or pictures below 11 pixels.
    """
    from skimage.metrics import structural_similarity

    _check(image, truth)
    if min(image.shape[:2]) < 11:
        raise ValueError(f"SSIM's window of 11 pixels does not fit into {image.shape[1]}x{image.shape[0]}")
    return float(
        structural_similarity(
            truth,
            image,
            channel_axis=2,
            data_range=255,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
    )
