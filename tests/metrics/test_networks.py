"""The feature networks: real classes with random weights, and what happens where weights are missing."""

import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from facekit.metrics import WeightsUnavailable
from facekit.metrics.networks import (
    emotion_recogniser,
    fan_landmarks,
    identity_embeddings,
    inception_features,
    lpips_distance,
    niqe_score,
    style_features,
)
from facekit.models.identity_encoder import IdentityEncoder
from facekit.models.style_encoder import StyleEncoder
from tests.tiny.networks import tiny_arcface_encoder, tiny_code_diffuser, tiny_identity_encoder


@pytest.fixture(scope="module")
def faces() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)


@pytest.fixture
def no_downloads(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    """An empty cache and a proxy that nobody answers."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")


def test_style_features(tmp_path, faces) -> None:
    encoder = StyleEncoder(
        sample_size=64,
        channels=[4, 8, 8, 8],
        num_blocks=[1, 1, 1, 1],
        stem_channels=4,
        style_dim=8,
        num_styles=10,
        se_reduction=2,
    )
    encoder.save_pretrained(tmp_path / "style_encoder")
    features = style_features(tmp_path)
    result = features(faces)
    assert result.shape == (3, 80) and np.isfinite(result).all()
    assert np.allclose(features(faces[:1]), result[:1], atol=1e-4)
    assert not np.allclose(result[0], result[1])


def test_identity_embeddings_are_unit_vectors(tmp_path, faces) -> None:
    IdentityEncoder(num_blocks=(1, 1, 1, 1), width=4, embedding_dim=8).save_pretrained(tmp_path)
    result = identity_embeddings(tmp_path)(faces)
    assert result.shape == (3, 8) and np.allclose(np.linalg.norm(result, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("below", ["", "identity_encoder"])
def test_identity_embeddings_are_those_of_the_network_in_the_folder(tmp_path, faces, below) -> None:
    for make in (tiny_identity_encoder, tiny_arcface_encoder):
        network = make().eval()
        network.save_pretrained(tmp_path / make.__name__ / below)
        tensor = torch.from_numpy(faces).permute(0, 3, 1, 2) / 127.5 - 1
        large = torch.nn.functional.interpolate(tensor, (256, 256), mode="bilinear", antialias=True)
        with torch.no_grad():
            expected = network(large).numpy()
        assert np.allclose(identity_embeddings(tmp_path / make.__name__)(faces), expected, atol=1e-5)


def test_what_is_no_identity_network_is_refused_with_the_way_out(tmp_path) -> None:
    (tmp_path / "model_ir_se50.pth").touch()
    with pytest.raises(
        OSError, match=r"is a file.*facekit convert arcface .*model_ir_se50\.pth --output DIR"
    ):
        identity_embeddings(tmp_path / "model_ir_se50.pth")
    tiny_code_diffuser().save_pretrained(tmp_path / "other")
    with pytest.raises(ValueError, match="CodeDiffuser, which is no face identity network"):
        identity_embeddings(tmp_path / "other")
    (tmp_path / "empty").mkdir()
    with pytest.raises(OSError, match="empty"):
        identity_embeddings(tmp_path / "empty")


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_inception_takes_weights_from_a_file(tmp_path, faces, suffix) -> None:
    base = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")

    class Unloaded(base.FeatureExtractorInceptionV3):
        def load_state_dict(self, state, *arguments, **options):
            return None

    source = tmp_path / "none.pth"
    torch.save({}, source)
    torch.manual_seed(0)
    state = Unloaded("inception", ["2048"], feature_extractor_weights_path=str(source)).state_dict()
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save(state, path)
    else:
        save_file({name: value.contiguous() for name, value in state.items()}, path)
    result = inception_features(path)(faces[:1])
    assert result.shape == (1, 2048) and np.isfinite(result).all()


def test_a_pickle_that_runs_code_is_not_run(tmp_path, faces) -> None:
    class Bad:
        def __reduce__(self):
            return (open, (str(tmp_path / "written"), "w"))

    torch.save({"weight": Bad()}, tmp_path / "bad.pth")
    with pytest.raises(WeightsUnavailable):
        inception_features(tmp_path / "bad.pth")
    assert not (tmp_path / "written").exists()


@pytest.mark.usefixtures("no_downloads")
@pytest.mark.parametrize("network", [inception_features, lpips_distance])
def test_missing_weights_are_named(network) -> None:
    with pytest.raises(WeightsUnavailable, match="weights"):
        network()


@pytest.mark.parametrize(
    ("network", "package"),
    [
        (niqe_score, "pyiqa"),
        (emotion_recogniser, "emotiefflib"),
        (fan_landmarks, "face_alignment"),
        (inception_features, "torch_fidelity"),
    ],
)
def test_missing_packages_are_named(network, package, monkeypatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(WeightsUnavailable, match="pip install"):
        network()
