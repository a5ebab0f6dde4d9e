"""What lies around restored faces, enlarged: smoothly, or by a network such as Real-ESRGAN's."""

import math
from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from huggingface_hub import hf_hub_download, model_info, snapshot_download
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

from facekit.faces.jobs import Background
from facekit.hub.cache import check_downloads
from facekit.hub.errors import explain_errors, explain_unreachable
from facekit.images.photo import Photo, as_float, from_float, resize
from facekit.images.tint import Tint, apply_tint, find_tint
from facekit.notes import Argument, MissingPackage, Refusal
from facekit.pipelines.base import FacekitPipeline
from facekit.weights.checkpoints import read_checkpoint

if TYPE_CHECKING:
    from spandrel import ImageModelDescriptor

SUFFIX = ".safetensors"
PICKLES = (".pth", ".pt", ".ckpt", ".bin")
# Pixels of the photo that a network sees around each tile and that are thrown away: seams lie in what a network
# guesses where it sees nothing, and Real-ESRGAN's own program takes 10.
CONTEXT = 32
ENLARGED_TILE = 1024  # pixels, side of a tile's result; the widest layers of Real-ESRGAN then take about 1 GB
SMALLEST_TILE = 64


class BackgroundUpscaler:
    """A network that enlarges photos, for the argument `background` of `FaceRestorePipeline`.

        upscaler = facekit.BackgroundUpscaler.from_pretrained("RealESRGAN_x2.safetensors")
        pipeline("photo.jpg", scale=2, background=upscaler)

    It works tile by tile, so that memory is that of a tile beside the photo and its enlarged copy.

    Args:
        network: as `spandrel` loads it; it enlarges colours by a whole factor.
        name: how messages and labels of results call it.
        tile: side in pixels of the photo of what the network sees at once, without the `CONTEXT` around it; None is
            what becomes 1024 pixels. One that does not fit on an accelerator is halved.

    Raises:
        ValueError: the network does something else, or `tile` is too small.
    """

    def __init__(self, network: "ImageModelDescriptor", name: str, tile: int | None = None) -> None:
        channels = (network.input_channels, getattr(network, "output_channels", None))
        if getattr(network, "purpose", None) != "SR" or network.scale < 2 or channels != (3, 3):
            raise ValueError(
                f"{name} is no network that enlarges colour photos: spandrel takes it for {network.architecture.name} "
                f"({getattr(network, 'purpose', 'unknown')}, {network.scale}x, {channels[0]} channels). Name an "
                "upscaler such as Real-ESRGAN x2 or x4."
            )
        if tile is not None and (not isinstance(tile, int) or tile < SMALLEST_TILE):
            what = "{argument} is {value!r}; it must be a number of pixels, {least} or more."
            raise Refusal("setting", what, argument=Argument("tile"), value=tile, least=SMALLEST_TILE)
        self.network, self.name = network, name
        self.tile = max(SMALLEST_TILE, ENLARGED_TILE // network.scale) if tile is None else tile

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        tile: int | None = None,
        revision: str | None = None,
    ) -> "BackgroundUpscaler":
        """Load a network that `spandrel` knows, such as Real-ESRGAN's, from a `.safetensors` file.

        Args:
            source: the file, a folder or Hub repository (`owner/name`) with one such file, or one of several in a
                repository (`owner/name/file.safetensors`). Pickles (`.pth`) are not opened, since they may run code.
            dtype: number type of the weights; a network that cannot work in it works in float32.
            device: where it works.
            tile: see `BackgroundUpscaler`.
            revision: branch, tag or commit of a Hub repository.

        Raises:
            ImportError: the package `spandrel` is not installed.
            OSError: there is no such file, it is damaged, or the Hub cannot be reached.
            ValueError: a pickle, no network that spandrel knows, or one that enlarges nothing.
        """
        spandrel = _import_spandrel()
        file = _find_file(str(source), revision)
        weights = spandrel.canonicalize_state_dict(read_checkpoint(file))
        try:
            network = spandrel.ModelLoader().load_from_state_dict(weights)
        except Exception as error:  # detectors and networks raise whatever a foreign file leads them to
            raise ValueError(
                f"{source} holds no network that spandrel knows ({type(error).__name__}). Name an upscaler such as "
                "Real-ESRGAN x2 or x4."
            ) from error
        network.eval()
        name = Path(source).name if Path(source).exists() else str(source)
        return cls(network, name, tile).to(device, dtype)

    @property
    def scale(self) -> int:
        """How many times the network enlarges."""
        return self.network.scale

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> "BackgroundUpscaler":
        """Move the network; one that cannot work in the number type works in float32."""
        unknown = (dtype == torch.float16 and not self.network.supports_half) or (
            dtype == torch.bfloat16 and not self.network.supports_bfloat16
        )
        self.network.to(device=device, dtype=torch.float32 if unknown else dtype)
        return self

    def __call__(self, rgb: np.ndarray, scale: int | None = None) -> np.ndarray:
        """Enlarge colours `[H, W, 3]`, uint8, uint16 or float32 in [0, 1].

        Args:
            rgb: a photo's colours. Those of a photo in black and white, or toned, keep to its tone.
            scale: by how much, at least 1; None is the network's own. For more than the network's it works on its own
                result, and what is too large then is made smaller by area means.

        Returns:
            `[H scale, W scale, 3]` of the same number type.
        """
        scale = self.scale if scale is None else scale
        passes = 1
        while self.scale**passes < scale:
            passes += 1
        tint = find_tint(Photo(rgb, "RGB"))
        for _ in range(passes - 1):
            rgb = self._enlarge(rgb, Fraction(self.scale), tint)
        return self._enlarge(rgb, Fraction(scale, self.scale ** (passes - 1)), tint)

    def _enlarge(self, rgb: np.ndarray, factor: Fraction, tint: Tint | None) -> np.ndarray:
        """Let the network see all of the colours once; its result is shrunk to `factor`, at most its own."""
        while True:
            try:
                return self._lay_tiles(rgb, factor, tint)
            except torch.OutOfMemoryError:
                if self.tile < 2 * SMALLEST_TILE:
                    raise
                self.tile //= 2
            # Outside the handler, whose error holds on to the tensors.
            torch.cuda.empty_cache()

    def _lay_tiles(self, rgb: np.ndarray, factor: Fraction, tint: Tint | None) -> np.ndarray:
        from tqdm import tqdm

        height, width = rgb.shape[:2]
        large = np.empty((int(height * factor), int(width * factor), 3), rgb.dtype)
        # Tiles begin where the network's own cells do, and where pixels of photo and result begin together.
        step = math.lcm(self.network.size_requirements.multiple_of, factor.denominator)
        context, side = _round_up(CONTEXT, step), _round_up(self.tile, step)
        tiles = [(y, x) for y in _spans(height, side, context) for x in _spans(width, side, context)]
        for rows, columns in tqdm(
            tiles, desc="background", unit="tile", leave=False, disable=len(tiles) == 1
        ):
            seen = rgb[rows.seen, columns.seen]
            drawn = self._draw(as_float(seen))[rows.inner(self.scale), columns.inner(self.scale)]
            place = rows.scaled(factor), columns.scaled(factor)
            target = large[place]
            picture = apply_tint(resize(drawn, (target.shape[1], target.shape[0])), tint)
            large[place] = from_float(picture, rgb.dtype)
        return large

    def _draw(self, colors: np.ndarray) -> np.ndarray:
        """Colours float32 `[h, w, 3]` in [0, 1] -> `[h scale, w scale, 3]`."""
        batch = torch.from_numpy(np.ascontiguousarray(colors.transpose(2, 0, 1)))[None]
        drawn = self.network(batch.to(self.network.device, self.network.dtype))
        FacekitPipeline.check_finite(drawn, self.network.dtype)
        return np.ascontiguousarray(drawn[0].float().cpu().numpy().transpose(1, 2, 0))


class _Span:
    """A tile along one side of a photo: `start` to `end`, of which the network sees `first` to `last`."""

    def __init__(self, start: int, end: int, first: int, last: int) -> None:
        self.start, self.end, self.first, self.last = start, end, first, last

    @property
    def seen(self) -> slice:
        return slice(self.first, self.last)

    def inner(self, scale: int) -> slice:
        """The tile in what the network made of all that it saw."""
        return slice((self.start - self.first) * scale, (self.end - self.first) * scale)

    def scaled(self, factor: Fraction) -> slice:
        return slice(int(self.start * factor), int(self.end * factor))


def _spans(length: int, side: int, context: int) -> Iterator[_Span]:
    for start in range(0, length, side):
        end = min(start + side, length)
        yield _Span(start, end, max(start - context, 0), min(end + context, length))


def _round_up(number: int, step: int) -> int:
    return -(-number // step) * step


def enlarge_smoothly(rgb: np.ndarray, scale: int) -> np.ndarray:
    """Colours `[H, W, 3]` as `[H scale, W scale, 3]` of the same number type, by cubic interpolation."""
    size = (rgb.shape[1] * scale, rgb.shape[0] * scale)
    return from_float(resize(as_float(rgb), size), rgb.dtype)


def plan_background(
    background: "Background | BackgroundUpscaler | None", scale: int | None
) -> Background | None:
    """What enlarges a photo's colours for these arguments of `FaceRestorePipeline`; None where nothing does.

    Raises:
        ValueError: a scale below 1, or one beside a function, which enlarges by a factor of its own.
    """
    if scale is not None and (not isinstance(scale, int) or scale < 1):
        what = "{argument} is {value!r}; it must be a whole number, 1 or more."
        raise Refusal("setting", what, argument=Argument("scale"), value=scale)
    if isinstance(background, BackgroundUpscaler):
        return partial(background, scale=scale)
    if background is not None and scale is not None:
        raise Refusal(
            "setting",
            "{background} is a function, which enlarges by a factor of its own; leave out {scale}.",
            background=Argument("background"),
            scale=Argument("scale"),
        )
    if background is None and scale is not None and scale > 1:
        return partial(enlarge_smoothly, scale=scale)
    return background


def _import_spandrel() -> Any:
    try:
        import spandrel
    except ImportError as error:
        raise MissingPackage(
            "background-missing",
            "a network for the background needs the package spandrel; install it with "
            "`pip install 'facekit[background]'`",
        ) from error
    return spandrel


def _find_file(source: str, revision: str | None) -> Path:
    """The file of weights that a name stands for, fetched where it lies on the Hub."""
    path = Path(source)
    if path.suffix.lower() in PICKLES:
        raise ValueError(
            f"{source} is a pickle, which may run code, and is not opened. Name a {SUFFIX} file, or make one of it: "
            "docs/using.md says how, in the section on large photos."
        )
    if path.is_dir():
        return path / _only_file([file.name for file in sorted(path.iterdir())], source)
    if path.exists() or path.is_absolute() or source.count("/") == 0:
        if path.suffix != SUFFIX:
            raise ValueError(f"{source} is no {SUFFIX} file, folder or Hub repository (owner/name).")
        return path  # `read_checkpoint` says it where there is none
    owner, name, *rest = source.split("/")
    if rest and not source.endswith(SUFFIX):
        raise ValueError(f"{source} does not exist, and of a Hub repository only a {SUFFIX} file is read.")
    repo_id = f"{owner}/{name}"
    try:
        with explain_errors(repo_id, revision) as options:
            wanted = "/".join(rest) or _only_file(_list_repository(repo_id, revision, **options), source)
            file = Path(hf_hub_download(repo_id, wanted, revision=revision, **options))
    except HFValidationError as error:
        raise FileNotFoundError(f"{source} does not exist, and is no Hub id: {error}") from error
    check_downloads(file.parent)
    return file


def _only_file(names: list[str], source: str) -> str:
    """The one name of a file of weights among all."""
    found = [name for name in names if name.endswith(SUFFIX)]
    if len(found) == 1:
        return found[0]
    if found:
        raise ValueError(f"{source} has several files: {', '.join(found)}. Say which: {source}/{found[0]}")
    pickles = [name for name in names if name.lower().endswith(PICKLES)]
    why = (
        f"only pickles ({', '.join(pickles)}), which may run code and are not opened"
        if pickles
        else "no weights"
    )
    raise ValueError(f"{source} has no {SUFFIX} file, {why}. Name another model.")


def _list_repository(repo_id: str, revision: str | None, local_files_only: bool = False) -> list[str]:
    """The files of a Hub repository; without connection, or by choice, those of its copy in the cache."""
    trouble = None
    if not local_files_only:
        try:
            return [file.rfilename for file in model_info(repo_id, revision=revision).siblings or ()]
        except Exception as error:
            if explain_unreachable(error) is None:
                raise
            trouble = error
    try:
        folder = Path(snapshot_download(repo_id, revision=revision, local_files_only=True))
    except LocalEntryNotFoundError as missing:
        raise trouble or missing from None
    return [file.relative_to(folder).as_posix() for file in sorted(folder.rglob("*"))]
