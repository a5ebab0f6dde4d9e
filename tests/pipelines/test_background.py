"""`BackgroundUpscaler`: what lies around restored faces, enlarged by networks such as Real-ESRGAN's."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from skimage.data import astronaut

from facekit import BackgroundUpscaler, FaceRestorePipeline
from facekit.faces import Face, align_face, detect_faces
from facekit.notes import MissingPackage
from tests.tiny.pipelines import tiny_restore_pipeline
from tests.tiny.upscalers import write_compact, write_rrdb

pytest.importorskip("spandrel")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("upscalers")
    for scale in (2, 3, 4):
        write_compact(folder / f"compact-{scale}.safetensors", scale)
    for scale in (2, 4):
        write_rrdb(folder / f"rrdb-{scale}.safetensors", scale)
    return folder


@pytest.fixture(scope="module")
def pipe() -> FaceRestorePipeline:
    return tiny_restore_pipeline(identity=False)


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return np.ascontiguousarray(astronaut()[:221, 130:333])


def one_pass(upscaler: BackgroundUpscaler, rgb: np.ndarray) -> np.ndarray:
    """All of a photo at once, float `[H, W, 3]`."""
    batch = torch.from_numpy(rgb.transpose(2, 0, 1)[None].astype(np.float32)) / 255
    return upscaler.network(batch)[0].numpy().transpose(1, 2, 0)


@pytest.mark.parametrize("name", ["compact-2", "compact-4", "rrdb-2", "rrdb-4"])
def test_tiles_make_what_one_pass_makes(files: Path, photo: np.ndarray, name: str) -> None:
    upscaler = BackgroundUpscaler.from_pretrained(files / f"{name}.safetensors", tile=64)
    assert upscaler.scale == int(name[-1])
    part = photo[40:167, 50:161]
    whole, tiled = one_pass(upscaler, part), upscaler(part)
    assert tiled.shape == (127 * upscaler.scale, 111 * upscaler.scale, 3) and tiled.dtype == np.uint8
    assert whole.std() > 0.01
    assert abs(np.rint(whole * 255) - tiled).max() <= 1


@pytest.mark.parametrize(("own", "scale"), [(2, 1), (2, 3), (2, 4), (3, 2), (3, 4), (4, 1), (4, 3)])
def test_any_scale_with_any_network(files: Path, photo: np.ndarray, own: int, scale: int) -> None:
    file = files / f"compact-{own}.safetensors"
    part = photo[40:137, 50:139]
    large = BackgroundUpscaler.from_pretrained(file)(part, scale=scale)
    assert large.shape == (97 * scale, 89 * scale, 3)
    shown = large.reshape(97, scale, 89, scale, 3).mean((1, 3))
    assert abs(shown - part).mean() < 12  # the networks change a little
    tiled = BackgroundUpscaler.from_pretrained(file, tile=64)(part, scale=scale)
    assert abs(tiled.astype(int) - large).max() <= 2  # a level that the first pass rounds otherwise


def test_a_larger_network_is_shrunk_by_area_means(files: Path, photo: np.ndarray) -> None:
    upscaler = BackgroundUpscaler.from_pretrained(files / "compact-4.safetensors")
    means = one_pass(upscaler, photo).reshape(442, 2, 406, 2, 3).mean((1, 3))
    assert abs(np.rint(means * 255) - upscaler(photo, scale=2)).max() <= 1


def test_depths_and_number_types(files: Path, photo: np.ndarray) -> None:
    upscaler = BackgroundUpscaler.from_pretrained(files / "compact-2.safetensors")
    noise = np.random.default_rng(0).integers(0, 257, photo.shape)
    deep = upscaler((photo.astype(int) * 256 + noise).clip(0, 65535).astype(np.uint16))
    assert deep.dtype == np.uint16 and len(np.unique(deep % 257)) > 200
    assert upscaler((photo / 255).astype(np.float32)).dtype == np.float32
    half = BackgroundUpscaler.from_pretrained(files / "compact-2.safetensors", dtype=torch.bfloat16)
    assert half.network.dtype == torch.bfloat16
    assert abs(half(photo).astype(int) - upscaler(photo)).mean() < 1


def test_photos_without_colours_get_none(files: Path, photo: np.ndarray) -> None:
    upscaler = BackgroundUpscaler.from_pretrained(files / "compact-2.safetensors", tile=64)
    gray = np.repeat(photo.mean(axis=2, keepdims=True).astype(np.uint8), 3, axis=2)
    large = upscaler(gray)
    assert (large == large[..., :1]).all() and large.std() > 20
    assert (upscaler(photo) != upscaler(photo)[..., :1]).any()


def test_faces_are_put_into_the_enlarged_photo(
    files: Path, pipe: FaceRestorePipeline, photo: np.ndarray
) -> None:
    upscaler = BackgroundUpscaler.from_pretrained(files / "compact-4.safetensors")
    generator = torch.Generator().manual_seed(0)
    alpha = np.full(photo.shape[:2], 77, np.uint8)
    calls = []
    counted = BackgroundUpscaler.__call__

    class Counted(BackgroundUpscaler):
        def __call__(self, rgb: np.ndarray, scale: int | None = None) -> np.ndarray:
            calls.append(scale)
            return counted(self, rgb, scale)

    images = pipe(
        np.dstack([photo, alpha]),
        scale=3,
        background=Counted(upscaler.network, "counted"),
        num_images=2,
        generator=generator,
    ).images
    assert calls == [3] and len(images) == 2  # once for all candidates
    result = np.asarray(images[0])
    assert images[0].mode == "RGBA" and result.shape == (663, 609, 4) and (result[..., 3] == 77).all()
    large = upscaler(photo, scale=3)
    (face,) = detect_faces(photo)
    placed = Face(0, tuple(np.array(face.box) * 3), 1.0, (face.landmarks + 0.5) * 3 - 0.5)
    outside = ~align_face(large, placed).covers((0, 0, 609, 663))
    changed = (result[..., :3] != large).any(-1)
    assert outside.mean() > 0.05 and not changed[outside].any() and changed[~outside].mean() > 0.6
    # Without a scale it is the network's own; without a network photos are enlarged smoothly.
    assert pipe(photo, background=upscaler).images[0].size == (812, 884)
    assert pipe(photo, scale=2).images[0].size == (406, 442)
    assert pipe(photo, scale=1, background=upscaler).images[0].size == (203, 221)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"scale": 0}, "scale is 0; it must be a whole number, 1 or more"),
        ({"scale": 2, "background": lambda rgb: rgb}, "enlarges by a factor of its own; leave out scale"),
        ({"scale": 2, "aligned": True}, "there is nothing around"),
        ({"scale": 100}, "would be 20300x22100; the limit is 200,000,000 pixels. Enlarge it less"),
    ],
)
def test_what_cannot_be_enlarged_is_refused(
    pipe: FaceRestorePipeline, photo: np.ndarray, options: dict, said: str
) -> None:
    with pytest.raises(ValueError, match=said.replace(".", r"\.")):
        pipe(photo, **options)


def test_files_that_are_no_upscalers(files: Path, tmp_path: Path) -> None:
    load = BackgroundUpscaler.from_pretrained
    (tmp_path / "a.pth").write_bytes(b"\x80\x04cposix\nsystem\n")
    with pytest.raises(ValueError, match=r"a.pth is a pickle.*not opened.*docs/using.md"):
        load(tmp_path / "a.pth")
    save_file({"weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"holds no network that spandrel knows"):
        load(tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"no network that enlarges colour photos.*ESRGAN.*1x"):
        load(write_rrdb(tmp_path / "clean.safetensors", 1))
    with pytest.raises(ValueError, match=r"no network that enlarges colour photos.*1 channels"):
        load(write_compact(tmp_path / "gray.safetensors", 2, channels=1))
    with pytest.raises(ValueError, match=r"several files: clean\.safetensors, gray\.safetensors"):
        load(tmp_path)
    (tmp_path / "broken.safetensors").write_bytes(b"broken")
    with pytest.raises(OSError, match="truncated or no safetensors"):
        load(tmp_path / "broken.safetensors")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        load(tmp_path / "none.safetensors")
    (tmp_path / "pickles").mkdir()
    (tmp_path / "pickles" / "x4.pth").write_bytes(b"")
    with pytest.raises(ValueError, match=r"only pickles \(x4.pth\)"):
        load(tmp_path / "pickles")
    with pytest.raises(ValueError, match="tile is 8; it must be a number of pixels, 64 or more"):
        load(files / "compact-2.safetensors", tile=8)


def test_a_missing_package_is_named(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spandrel", None)
    with pytest.raises(MissingPackage, match=r"spandrel.*facekit\[background\]"):
        BackgroundUpscaler.from_pretrained(files / "compact-2.safetensors")


def test_a_tile_that_does_not_fit_is_halved(files: Path, photo: np.ndarray) -> None:
    upscaler = BackgroundUpscaler.from_pretrained(files / "compact-2.safetensors", tile=256)
    expected, network = upscaler(photo), upscaler.network
    seen = []

    def full(model: torch.nn.Module, image: torch.Tensor) -> torch.Tensor:
        seen.append(image.shape[-1])
        if image.shape[-1] > 140:
            raise torch.OutOfMemoryError("full")
        return model(image)

    network._call_fn = full
    assert abs(upscaler(photo).astype(int) - expected).max() <= 1
    assert seen[0] == 203 and max(seen[2:]) <= 140 and upscaler.tile == 64


PEAK = """
import resource, sys
import numpy as np
from facekit import BackgroundUpscaler

upscaler = BackgroundUpscaler.from_pretrained(sys.argv[1])
rgb = np.random.default_rng(0).integers(0, 256, (int(sys.argv[2]), 4000, 3), dtype=np.uint8)
upscaler(rgb[:300, :300])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
large = upscaler(rgb)
print(large.nbytes, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


@pytest.mark.slow
def test_memory_is_that_of_the_result_and_a_tile(files: Path) -> None:
    command = [sys.executable, "-c", PEAK, str(files / "compact-2.safetensors"), "3000"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    result, peak = map(int, told.split())
    # 12 megapixels become 48, of which float32 colours alone, all at once, would take four times the result.
    assert result == 6000 * 8000 * 3 and peak < result + 150e6
