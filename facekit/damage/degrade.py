"""Damage a sharp photo as blind face restoration assumes it was damaged.

One model for all presets (thesis section 3.3.1): ``{[(I * k_sigma) down_r + n_delta]_JPEG_q} up_r``,
with the published code's additions (anisotropic kernels, rare haze and gray) as options.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np

Range = tuple[float, float]


@dataclass(frozen=True)
class DegradeConfig:
    """Ranges that one damage is drawn from. Every range is uniform, bounds included.

    `reference_size`: the picture size (shorter side, pixels) the blur is meant for; at another size
    standard deviations and kernel sizes are scaled in proportion. None keeps them in pixels at any size.
    `swap_red_blue`: JPEG and gray treat channel 0 as blue, as the published training code did with RGB data.
    """

    sigma: Range = (0.2, 10.0)
    kernel_sizes: tuple[int, ...] = (41,)
    anisotropic_probability: float = 0.0
    haze_probability: float = 0.0
    haze: Range = (0.75, 0.95)
    scale: Range = (1.0, 8.0)
    noise: Range = (0.0, 20.0)
    quality: Range = (60.0, 100.0)
    gray_probability: float = 0.0
    reference_size: int | None = 512
    swap_red_blue: bool = False


_PUBLISHED = DegradeConfig(
    sigma=(0.1, 10.0),
    kernel_sizes=(39, 41),
    anisotropic_probability=0.5,
    scale=(0.8, 8.0),
    reference_size=None,
    swap_red_blue=True,
)

PRESETS: dict[str, DegradeConfig] = {
    # Thesis section 3.3.1, evaluation and default training.
    "thesis": DegradeConfig(),
    # Published code, variant A: style encoder and code diffuser.
    "published-a": _PUBLISHED,
    # Published code, variant B: restoration network. (Its horizontal flip belongs to the data loader.)
    "published-b": replace(_PUBLISHED, haze_probability=0.008, gray_probability=0.008),
}


@dataclass(frozen=True)
class Damage:
    """One drawn damage, in the units of the picture it is applied to.

    `sigma_x`, `sigma_y`: pixels; `angle`: radians; `haze`: share of the picture that is kept, None without
    haze; `scale`: downsampling factor; `noise`: standard deviation in grey levels (0..255);
    `quality`: JPEG quality, None without JPEG.
    """

    kernel_size: int
    sigma_x: float
    sigma_y: float
    angle: float = 0.0
    haze: float | None = None
    scale: float = 1.0
    noise: float = 0.0
    quality: int | None = None
    gray: bool = False
    swap_red_blue: bool = False


def get_config(config: DegradeConfig | str) -> DegradeConfig:
    """The config itself, or the preset of that name. Raises ValueError for an unknown name."""
    if isinstance(config, DegradeConfig):
        return config
    if config not in PRESETS:
        raise ValueError(f"unknown damage preset {config!r}; choose one of {', '.join(sorted(PRESETS))}")
    return PRESETS[config]


def gaussian_kernel(
    size: int, sigma_x: float, sigma_y: float | None = None, angle: float = 0.0
) -> np.ndarray:
    """Normalised Gaussian [size, size] float32 whose axes are turned by `angle` radians."""
    sigma_y = sigma_x if sigma_y is None else sigma_y
    offsets = np.arange(size, dtype=np.float64) - size // 2
    x, y = np.meshgrid(offsets, offsets)
    along = x * np.cos(angle) + y * np.sin(angle)
    across = y * np.cos(angle) - x * np.sin(angle)
    kernel = np.exp(-0.5 * ((along / sigma_x) ** 2 + (across / sigma_y) ** 2))
    return (kernel / kernel.sum()).astype(np.float32)


def blur(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Correlate [H, W, 3] float32 with the kernel, borders mirrored without repeating the edge pixel."""
    return cv2.filter2D(image, -1, kernel)


def resize(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """Bilinear resampling without antialiasing, as the damage model wants it in both directions."""
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)


def compress(image: np.ndarray, quality: int, swap_red_blue: bool = False) -> np.ndarray:
    """Compress as JPEG of that quality and decode again: [H, W, 3] float32 in [0, 1] -> the same shape and range."""
    pixels = np.rint(np.clip(image, 0.0, 1.0) * 255.0).astype(np.uint8)
    ordered = pixels if swap_red_blue else pixels[..., ::-1]
    done, data = cv2.imencode(".jpg", np.ascontiguousarray(ordered), [cv2.IMWRITE_JPEG_QUALITY, int(quality)])
    if not done:
        raise OSError("the JPEG encoder refused the picture")
    decoded = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))
    return (decoded if swap_red_blue else decoded[..., ::-1]).astype(np.float32) / 255.0


def to_gray(image: np.ndarray, swap_red_blue: bool = False) -> np.ndarray:
    """Replace colours by their luma: [H, W, 3] -> [H, W, 3] with three equal channels."""
    code = cv2.COLOR_BGR2GRAY if swap_red_blue else cv2.COLOR_RGB2GRAY
    return np.repeat(cv2.cvtColor(image, code)[..., None], 3, axis=2)


def sample_damage(
    config: DegradeConfig | str,
    rng: np.random.Generator,
    size: int,
    severity: float | None = None,
) -> Damage:
    """Draw a damage for a picture whose shorter side is `size` pixels.

    `severity` in [0, 1] replaces the draws of blur, scale, noise and quality by that point of their ranges
    (0 the mildest, 1 the worst), for a slider. Raises ValueError outside [0, 1].
    """
    config = get_config(config)
    if severity is not None and not 0.0 <= severity <= 1.0:
        raise ValueError(f"severity must be between 0 (mildest) and 1 (worst), got {severity}")

    def pick(mildest: float, worst: float) -> float:
        return float(mildest + (worst - mildest) * (rng.random() if severity is None else severity))

    ratio = 1.0 if config.reference_size is None else size / config.reference_size
    half = round((int(rng.choice(config.kernel_sizes)) // 2) * ratio)
    anisotropic = rng.random() < config.anisotropic_probability
    sigma_x = pick(*config.sigma)
    sigma_y = pick(*config.sigma) if anisotropic else sigma_x
    angle = float(rng.uniform(-np.pi, np.pi)) if anisotropic else 0.0
    hazy = rng.random() < config.haze_probability
    haze = float(rng.uniform(*config.haze)) if hazy else None
    scale = pick(*config.scale)
    noise = pick(*config.noise)
    worst, best = config.quality
    quality = int(pick(best, worst))
    gray = bool(rng.random() < config.gray_probability)
    return Damage(
        kernel_size=2 * max(half, 1) + 1,
        sigma_x=sigma_x * ratio,
        sigma_y=sigma_y * ratio,
        angle=angle,
        haze=haze,
        scale=scale,
        noise=noise,
        quality=quality,
        gray=gray,
        swap_red_blue=config.swap_red_blue,
    )


def apply_damage(image: np.ndarray, damage: Damage, rng: np.random.Generator) -> np.ndarray:
    """Apply a drawn damage; `rng` gives the noise.

    RGB [H, W, 3] uint8 or float in [0, 1] -> same type and size, rounded to the 256 levels of an 8-bit file
    (before the rare gray damage, left unrounded in floats). Raises ValueError for another rank or type.
    """
    pixels = _to_float(image)
    height, width = pixels.shape[:2]
    result = blur(pixels, gaussian_kernel(damage.kernel_size, damage.sigma_x, damage.sigma_y, damage.angle))
    if damage.haze is not None:
        result = result * damage.haze + (1.0 - damage.haze)
    result = resize(result, max(int(width // damage.scale), 1), max(int(height // damage.scale), 1))
    noise = rng.standard_normal(result.shape, dtype=np.float32)
    result = np.clip(result + noise * np.float32(damage.noise / 255.0), 0.0, 1.0)
    if damage.quality is not None:
        result = compress(result, damage.quality, damage.swap_red_blue)
    result = resize(result, width, height)
    result = np.clip(np.rint(result * 255.0), 0.0, 255.0)
    if damage.gray:
        result = to_gray(result / np.float32(255.0), damage.swap_red_blue) * 255.0
    return np.rint(result).astype(np.uint8) if image.dtype == np.uint8 else result / np.float32(255.0)


def degrade(
    image: np.ndarray,
    config: DegradeConfig | str = "thesis",
    rng: np.random.Generator | int | None = None,
    severity: float | None = None,
) -> np.ndarray:
    """A damaged copy of an RGB picture: [H, W, 3] uint8 or float in [0, 1] -> same type and size.

    `rng`: a numpy Generator or a seed; the same seed gives the same picture, in any worker process.
    `severity`: see `sample_damage`. Raises ValueError for a wrong rank, type, preset or severity.
    """
    return degrade_pair(image, config, rng, severity)[0]


def degrade_pair(
    image: np.ndarray,
    config: DegradeConfig | str = "thesis",
    rng: np.random.Generator | int | None = None,
    severity: float | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """A damaged picture and the target to restore it to; where the damage makes gray, the target is gray, too."""
    _check(image)
    rng = np.random.default_rng(rng)
    damage = sample_damage(config, rng, min(image.shape[:2]), severity)
    damaged = apply_damage(image, damage, rng)
    if not damage.gray:
        return damaged, image
    target = to_gray(_to_float(image), damage.swap_red_blue)
    return damaged, np.rint(target * 255.0).astype(np.uint8) if image.dtype == np.uint8 else target


def _check(image: np.ndarray) -> None:
    if not isinstance(image, np.ndarray) or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        shape = getattr(image, "shape", type(image).__name__)
        raise ValueError(f"damage needs an RGB array [H, W, 3], got {shape}; convert other pictures first")
    if image.dtype != np.uint8 and not np.issubdtype(image.dtype, np.floating):
        raise ValueError(f"damage needs uint8 pixels or floats in [0, 1], got {image.dtype}")


def _to_float(image: np.ndarray) -> np.ndarray:
    _check(image)
    if image.dtype == np.uint8:
        return image.astype(np.float32) / 255.0
    return image.astype(np.float32, copy=False)
