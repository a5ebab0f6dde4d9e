"""Tables 3.3 and 6.6 on the folders that training wrote, one for each row."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facekit.models.latent_warper import LatentWarper
from facekit_cli.main import main
from tests.cli.evaluation.conftest import no_downloads  # noqa: F401
from tests.helpers.evaluation import read_report
from tests.train import tiny_stages
from tests.train.tiny_faces import MULTIMODAL, label_maps, tiny_edit_guides
from tests.train.tiny_stages import tiny_guides, write_config
from train.multimodal.config import MultimodalConfig
from train.multimodal.trainer import MultimodalTrainer
from train.restorer.config import RestorerConfig
from train.restorer.trainer import RestorerTrainer


def fill_table(name: str, rows: dict[str, Path], pictures: Path, features: Path, output: Path) -> dict:
    """`facekit evaluate` on three pictures; the report. Its size is left to the models."""
    methods = [part for label, folder in rows.items() for part in ("--method", f"{label}={folder}")]
    arguments = ["--data", pictures, "--count", 3, "--features", f"style={features}", "--device", "cpu"]
    assert main([str(word) for word in ("evaluate", name, *methods, *arguments, "--output", output)]) == 0
    return read_report(output)


def outputs(folder: Path, row: str) -> np.ndarray:
    """A row's pictures [N, H, W, 3]."""
    files = sorted((folder / "outputs" / row).rglob("*.png"))
    return np.stack([np.asarray(Image.open(file)) for file in files])


def assert_rows_differ(report: dict, folder: Path, rows: list[str]) -> None:
    assert [row["method"] for row in report["rows"]] == rows
    made = [outputs(folder, row) for row in rows]
    assert made[0].shape == (3, 16, 16, 3), "the size of the models"
    for place, one in enumerate(made):
        assert one.std() > 0 and not any(np.array_equal(one, other) for other in made[:place])


@pytest.mark.usefixtures("no_downloads")
def test_table_3_3(tmp_path: Path, pictures: Path) -> None:
    """(a) to (d) and the full configuration."""
    guides = tiny_guides(tmp_path / "guides")
    names = {"prior": str(guides), "style_encoder": str(guides), "code_diffuser": str(guides)}
    networks = {"restorer": {"global_dim": 16}, "discriminator": {"stddev_group": 2}, "max_steps": 1}
    config = write_config(
        tmp_path, pictures, **names, **networks, **{"pictures.perceptual": "none"}, without="identity"
    )
    rows = {}
    for ablation in (*"abcd", "none"):
        changed = {"code_diffuser": None} if ablation == "a" else {}
        run = tmp_path / ablation
        tiny_stages.run(RestorerTrainer, RestorerConfig, config, run, ablation=ablation, **changed)
        rows["ours" if ablation == "none" else ablation] = run / "pipeline"
    report = fill_table("3.3", rows, pictures, guides, tmp_path / "table")
    assert_rows_differ(report, tmp_path / "table", [*"abcd", "ours"])
    assert report["title"].endswith("real photos, 16x16")
    assert any("16x16 (the size of a, b, c, d, ours)" in note for note in report["notes"])
    assert any("as in the thesis: fidelity=0" in note for note in report["notes"])


@pytest.mark.usefixtures("no_downloads")
def test_table_6_6(tmp_path: Path, pictures: Path) -> None:
    """A to E."""
    guides = tiny_edit_guides(tmp_path / "guides")
    LatentWarper(num_styles=6, style_dim=8, num_blocks=1).save_pretrained(tmp_path / "latent_warper")
    names = dict.fromkeys(("style_encoder", "prior", "pictures.identity_encoder"), str(guides))
    names |= {"guidance.semantics_folder": str(label_maps(pictures, tmp_path / "maps"))}
    names |= {"latent_warper": str(tmp_path), "max_steps": 1, "same_image_probability": 0}
    options = MULTIMODAL | names | {"pictures.perceptual": "none", "average.decay": 0}
    config = write_config(tmp_path, pictures, **options)
    rows = {}
    for ablation in "abcde":
        run = tmp_path / ablation
        tiny_stages.run(MultimodalTrainer, MultimodalConfig, config, run, ablation=ablation)
        rows[ablation.upper()] = run / "pipeline"
    report = fill_table("6.6", rows, pictures, guides / "teacher", tmp_path / "table")
    assert_rows_differ(report, tmp_path / "table", [*"ABCDE"])


def test_networks_without_a_pipeline_are_no_folder_of_pictures(
    tmp_path: Path, pictures: Path, capsys: pytest.CaptureFixture
) -> None:
    LatentWarper(num_styles=6, style_dim=8, num_blocks=1).save_pretrained(tmp_path / "old" / "latent_warper")
    command = ["evaluate", "6.6", "--data", str(pictures), "--output", str(tmp_path / "table")]
    assert main([*command, "--method", str(tmp_path / "old")]) == 2
    said = capsys.readouterr().err
    assert "holds networks (latent_warper) and no model_index.json" in said
    assert "run the same training command once more" in said
