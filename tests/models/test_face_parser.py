"""The face parser: shapes, sizes, what it can tell apart, and the bundled weights."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from skimage.data import astronaut

from facekit.hub.starters import starter
from facekit.models.face_parser import FaceParser


def tiny(**options: object) -> FaceParser:
    torch.manual_seed(0)
    return FaceParser(**({"sample_size": 16, "channels": (4, 6, 8), "num_classes": 5} | options))


def test_logits_have_the_pictures_size() -> None:
    parser = tiny().eval()
    for height, width in ((16, 16), (40, 40), (24, 50), (8, 8)):
        assert parser(torch.rand(2, 3, height, width)).shape == (2, 5, height, width)
    image = torch.rand(1, 3, 16, 16)
    assert torch.equal(parser(image), parser.working_logits(image))
    plain = torch.full((1, 3, 32, 32), 0.3)  # stays what it is at any size
    small = parser(plain[..., :16, :16])
    assert torch.allclose(parser(plain), F.interpolate(small, (32, 32), mode="bilinear"), atol=1e-5)


def test_half_precision_at_another_size() -> None:
    parser = tiny().eval().to(torch.bfloat16)
    logits = parser(torch.rand(1, 3, 40, 40).to(torch.bfloat16))
    assert logits.dtype == torch.bfloat16 and logits.isfinite().all()


def test_sizes_that_do_not_fit_are_refused() -> None:
    for options in ({"sample_size": 20}, {"channels": ()}, {"sample_size": 0}):
        with pytest.raises(ValueError, match="sample_size"):
            tiny(**options)


def test_every_weight_gets_a_gradient() -> None:
    parser = tiny()
    parser(torch.rand(4, 3, 16, 16)).square().mean().backward()
    for name, parameter in parser.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_learns_colour_and_side() -> None:
    """Two classes of one colour on the two sides of the picture: the position is part of the input."""
    torch.manual_seed(0)
    parser, labels = tiny(num_classes=3, channels=(8, 12, 16)), torch.zeros(1, 16, 16, dtype=torch.long)
    labels[:, 4:8, 2:6], labels[:, 4:8, 10:14] = 1, 2
    image = (labels > 0).float().expand(3, -1, -1)[None] * 2 - 1
    optimizer = torch.optim.Adam(parser.parameters(), 0.02)
    for _ in range(50):
        noisy = image + 0.1 * torch.randn(4, 3, 16, 16)
        loss = F.cross_entropy(parser(noisy), labels.expand(4, -1, -1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert (parser.eval()(image).argmax(1) == labels).float().mean() > 0.95


def test_saved_and_loaded(tmp_path: Path) -> None:
    parser = tiny().eval()
    parser.save_pretrained(tmp_path)
    again = FaceParser.from_pretrained(tmp_path)
    image = torch.rand(1, 3, 20, 20)
    assert not again.training and torch.equal(parser(image), again(image))


def test_starter_finds_the_astronauts_face() -> None:
    folder = Path(starter("face-parser"))
    assert sum(path.stat().st_size for path in folder.glob("*.safetensors")) < 4e6
    parser = FaceParser.from_pretrained(folder)
    # About what faces.align_face cuts out of this photo.
    crop = np.ascontiguousarray(astronaut()[19:192, 138:311])
    image = torch.from_numpy(crop).permute(2, 0, 1).float()[None] / 127.5 - 1
    with torch.no_grad():
        labels = parser(image)[0].argmax(0).numpy()
    share = np.bincount(labels.ravel(), minlength=19) / labels.size
    assert share[1] > 0.1 and share[17] > 0.1  # skin, hair
    for label in (2, 3, 4, 5, 10, 12, 13):
        assert share[label] > 0.002, label
    rows, columns = np.nonzero(labels == 10)
    eyes, lips = np.nonzero((labels == 4) | (labels == 5)), np.nonzero((labels == 12) | (labels == 13))
    assert eyes[0].mean() < rows.mean() < lips[0].mean()
    assert np.nonzero(labels == 4)[1].mean() < columns.mean() < np.nonzero(labels == 5)[1].mean()
