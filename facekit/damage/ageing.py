"""What age and a scanner do to a whole photo: it fades, turns gray or sepia and soft; the scan adds grain and JPEG."""

from typing import Any

import cv2
import numpy as np

SEPIA = np.array([1.07, 1.0, 0.82], np.float32)


def fade(photo: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Fade a photo uint8 [H, W, 3]: half of them gray or sepia, contrast lost, a cast of colour, a little soft."""
    pixels: np.ndarray = photo.astype(np.float32)
    hue = rng.random()
    if hue < 0.5:
        gray = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY).astype(np.float32)[..., None]
        tone = SEPIA ** np.float32(rng.uniform(0.3, 1.3)) if hue < 0.25 else np.ones(3, np.float32)
        pixels = gray * tone
    else:
        pixels = pixels * rng.uniform((0.92, 0.9, 0.8), (1.05, 1.02, 1.0)).astype(np.float32)
    black, white = rng.uniform(0, 45), rng.uniform(205, 255)
    pixels = black + pixels * np.float32((white - black) / 255)
    softness = rng.uniform(0, 0.0025) * min(photo.shape[:2])
    if softness > 0.3:
        pixels = cv2.GaussianBlur(pixels, (0, 0), softness)
    return np.rint(pixels.clip(0, 255)).astype(np.uint8)


def scan(photo: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Scan a photo uint8 [H, W, 3]: grain of the paper, then JPEG of quality 50 to 95."""
    grain: np.ndarray = rng.normal(0, 1, photo.shape[:2]).astype(np.float32)
    if rng.random() < 0.5:
        grain = 2 * cv2.GaussianBlur(grain, (0, 0), 0.8)
    noisy = photo.astype(np.float32) + np.float32(rng.uniform(0, 8)) * grain[..., None]
    pixels = np.rint(noisy.clip(0, 255)).astype(np.uint8)
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(50, 96))]
    encoded = cv2.imencode(".jpg", pixels[..., ::-1], quality)[1]
    decoded: Any = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    return np.ascontiguousarray(decoded[..., ::-1])


def age(photo: np.ndarray, seed: int) -> np.ndarray:
    """Fade and scan a photo uint8 [H, W, 3], the same for the same seed."""
    rng = np.random.default_rng(seed)
    return scan(fade(photo, rng), rng)
