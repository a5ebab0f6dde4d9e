"""Figures that look into pipelines or training runs, end to end on four small pictures."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from facekit import (
    FaceEditPipeline,
    FaceInpaintPipeline,
    FaceRestorePipeline,
    IdentityEncoder,
)
from facekit.conditions.guidance import encoder_input
from facekit.metrics import frechet_distance, pooled_features
from facekit_cli.evaluation.data import open_pictures
from facekit_cli.evaluation.figures import fig_3_9
from facekit_cli.evaluation.inputs import make_case
from facekit_cli.evaluation.tables import HALF, Table
from tests.helpers.evaluation import SIZE, evaluate, read_report
from tests.tiny.pipelines import tiny_restore_pipeline


def picture(file: Path) -> np.ndarray:
    return np.asarray(Image.open(file).convert("RGB"))


def to_tensor(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1


def drawn(pipeline: object, codes: torch.Tensor) -> np.ndarray:
    """What the prior makes of codes, as 64 pixels in 8 bits."""
    image = pipeline.prior(w_plus=codes, noise="fixed").image
    image = torch.nn.functional.avg_pool2d(image, image.shape[-1] // SIZE)
    return ((image[0].permute(1, 2, 0) + 1) * 127.5).round().clamp(0, 255).byte().numpy()


@torch.no_grad()
def test_fid_of_denoised_codes(
    data: Path, models: dict[str, str], tmp_path: Path, no_downloads: None
) -> None:
    arguments = ("fig-3.8", "--data", data, "--method", f"ours={models['restore']}", "--output", tmp_path)
    assert evaluate(*arguments) == 0
    report = read_report(tmp_path)
    names = [*(f"step {step}" for step in range(1, 5)), "ground-truth codes"]
    assert [row["method"] for row in report["rows"]] == [f"ours, {name}" for name in names]
    assert report["columns"] == ["FID ↓", "FID (Lite0) ↓", "KID (Lite0) ↓"]
    assert (tmp_path / "figure.png").is_file() and (tmp_path / "curves.png").is_file()

    # The truth's own codes are what the style encoder reads off the undamaged picture.
    pipeline = FaceRestorePipeline.from_pretrained(models["restore"])
    truths = [picture(data / "val" / f"{number}.png") for number in range(4)]
    folder = tmp_path / "outputs/ours"
    shown = [picture(folder / "ground-truth" / f"{number}.png") for number in range(4)]
    expected = drawn(pipeline, pipeline.style_encoder(to_tensor(truths[2])))
    np.testing.assert_allclose(shown[2], expected, atol=1)
    # The number is the FID to the undamaged pictures.
    last = [picture(folder / "step-4" / f"{number}.png") for number in range(4)]
    for row, pictures in ((3, last), (4, shown)):
        value = frechet_distance(pooled_features(truths), pooled_features(pictures))
        assert report["rows"][row]["values"][1] == pytest.approx(value, rel=1e-4)


@pytest.mark.slow
def test_a_stopped_figure_goes_on(
    data: Path, models: dict[str, str], tmp_path: Path, no_downloads: None, capsys: pytest.CaptureFixture
) -> None:
    arguments = ("fig-4.22", "--data", data, "-m", f"ours={models['inpaint']}", "--output", tmp_path)
    arguments += ("--count", 3, "--sheet", 0)
    assert evaluate(*arguments) == 0
    folder = tmp_path / "outputs/ours"
    before = {file: file.read_bytes() for file in folder.glob("*/*.png")}
    kept = (folder / "step-1/0.png").stat().st_mtime_ns
    (folder / "2.json").unlink()  # a picture is done when its record is there
    (folder / "step-2/2.png").unlink()
    (folder / "step-3/.2.png.01234567.part").write_bytes(b"half")
    assert evaluate(*arguments) == 0
    assert {file: file.read_bytes() for file in folder.glob("*/*.png")} == before
    assert (folder / "step-1/0.png").stat().st_mtime_ns == kept
    assert not list(folder.glob("*/.*.part"))
    assert evaluate(*arguments, "--seed", 1) == 2
    assert "holds outputs made with seed 0, now it is 1" in capsys.readouterr().err
    assert evaluate(*arguments, "--seed", 1, "--overwrite") == 0
    assert {file: file.read_bytes() for file in before} != before


def test_a_picture_that_fails_does_not_stop_the_others(
    data: Path, models: dict[str, str], tmp_path: Path, no_downloads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from facekit_cli.evaluation.figures import fig_4_22

    whole = fig_4_22.reason

    def reason(pipeline: object, given: dict, case: object) -> object:
        if case.name == "1":
            raise ValueError("no such luck")
        return whole(pipeline, given, case)

    monkeypatch.setattr(fig_4_22, "reason", reason)
    arguments = ("fig-4.22", "--data", data, "-m", f"ours={models['inpaint']}", "--output", tmp_path)
    assert evaluate(*arguments) == 1
    (row,) = read_report(tmp_path)["rows"]
    assert set(row["cells"]) == {"failed"}
    assert "ours: 1: no such luck" in (tmp_path / "table.md").read_text()
    assert len(list((tmp_path / "outputs/ours/step-1").glob("*.png"))) == 3


@pytest.mark.parametrize("form", ["published", "thesis"])
def test_smart_maps(
    form: str, data: Path, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, no_downloads: None
) -> None:
    model = tmp_path_factory.mktemp("restorer")
    tiny_restore_pipeline(form=form).save_pretrained(model)
    arguments = ("--data", data, "--count", 2, "-m", f"ours={model}")
    assert evaluate("fig-3.9", *arguments, "--output", tmp_path) == 0
    report = read_report(tmp_path)
    parts = [f"dilation {d}" for d in (1, 2, 4, 8)] + ["aggregation"]
    expected = [f"ours, {size}x{size}, {part}" for size in (32, 64) for part in parts]
    assert [row["method"] for row in report["rows"]] == expected
    assert all(row["values"][0] > 0 and 0 <= row["values"][1] <= 100 for row in report["rows"])
    heat = picture(tmp_path / "outputs/ours/32-dilation-8/1.png")
    assert heat.shape == (32, 32, 3) and len(np.unique(heat.reshape(-1, 3), axis=0)) > 20
    numbers = json.loads((tmp_path / "outputs/ours/1.json").read_text())["numbers"]
    other = json.loads((tmp_path / "outputs/ours/0.json").read_text())["numbers"]
    mean = (numbers["64-aggregation magnitude"] + other["64-aggregation magnitude"]) / 2
    assert report["rows"][-1]["values"][0] == pytest.approx(mean)
    # Watching the layers does not change what comes back.
    pictures = open_pictures(str(data), "val", SIZE)
    case = make_case(fig_3_9.TABLE, fig_3_9.TABLE.conditions[0], pictures, 1)
    restored = FaceRestorePipeline.from_pretrained(model)(
        Image.fromarray(case.image),
        aligned=True,
        fidelity=0,
        generator=torch.Generator().manual_seed(case.seed),
    ).images[0]
    written = picture(tmp_path / "outputs/ours/restored/1.png").astype(int)
    assert np.abs(written - np.asarray(restored)).max() <= 1


def test_coarse_share_by_hand() -> None:
    values = torch.rand(32, 32, generator=torch.Generator().manual_seed(0))
    cells = [values[i : i + 4, j : j + 4].mean() for i in range(0, 32, 4) for j in range(0, 32, 4)]
    expected = torch.stack(cells).var(correction=0) / values.var(correction=0)
    assert fig_3_9.coarse_share(values) == pytest.approx(float(expected), rel=1e-5)
    assert fig_3_9.coarse_share(torch.ones(16, 16)) == 0


def test_results_and_residuals_by_step(
    data: Path, models: dict[str, str], tmp_path: Path, no_downloads: None
) -> None:
    method = f"ours={models['inpaint']}?num_inference_steps=2&match_tones=false"
    assert evaluate("fig-4.22", "--data", data, "-m", method, "--output", tmp_path) == 0
    report = read_report(tmp_path)
    assert [row["method"] for row in report["rows"]] == ["ours, step 1", "ours, step 2"]
    assert report["columns"][0] == "mean |residual|"
    # |Delta_t| out of the pictures of the steps: c_t - c_{t-1} within the hole, c_0 is zero there.
    pipeline = FaceInpaintPipeline.from_pretrained(models["inpaint"])
    table = Table("any", "any", "inpaint", (), HALF)
    means = []
    for index in range(4):
        case = make_case(table, HALF[0], open_pictures(str(data), "val", SIZE), index)
        fills: list[torch.Tensor] = []
        pipeline(
            Image.fromarray(case.image),
            case.mask.astype(bool),
            aligned=True,
            num_inference_steps=2,
            generator=torch.Generator().manual_seed(case.seed),
            callback_on_step_end=lambda p, step, t, tensors, fills=fills: fills.append(tensors["image"]),
        )
        hole = torch.from_numpy(case.mask) > 0
        before = torch.zeros_like(fills[0])
        steps = []
        for fill in fills:
            steps.append(float((fill - before).abs().mean(1)[0][hole].mean()))
            before = fill
        means.append(steps)
    found = [row["values"][0] for row in report["rows"]]
    assert found == pytest.approx(np.mean(means, 0).tolist(), rel=1e-4)
    with Image.open(
        tmp_path / "figure.png"
    ) as sheet:  # masked, two steps, original; two lines for each picture
        assert sheet.size[0] == 4 * 160 and sheet.size[1] == 8 * 178


@pytest.mark.slow
@torch.no_grad()
def test_inversions_of_exemplar_and_warped_codes(
    data: Path, models: dict[str, str], tmp_path: Path, no_downloads: None
) -> None:
    method = f"ours={models['edit']}?noise=none"
    assert evaluate("fig-6.13", "--data", data, "-m", method, "--output", tmp_path) == 0
    report = read_report(tmp_path)
    labels = ["inversion of the exemplar", "edit w/o warping", "warped inversion", "edit with warping"]
    assert [row["method"] for row in report["rows"]] == [f"ours, {label}" for label in labels]
    assert report["columns"][:3] == ["pose distance", "FID ↓", "LPIPS ↓"]
    folder = tmp_path / "outputs/ours"
    inputs = tmp_path / "inputs"
    assert evaluate("fig-6.14", "--data", data, "--export-inputs", inputs) == 0
    pipeline = FaceEditPipeline.from_pretrained(models["edit"])
    exemplar = picture(inputs / "fixed/exemplar/3.png")
    codes = pipeline.style_encoder(encoder_input(to_tensor(exemplar)))
    np.testing.assert_allclose(picture(folder / "exemplar/3.png"), drawn(pipeline, codes), atol=1)
    kinds = [
        picture(folder / kind / "3.png") for kind in ("exemplar", "warped", "edit", "edit-without-warping")
    ]
    assert (kinds[0] != kinds[1]).any() and (kinds[2] != kinds[3]).any()
    truth = picture(data / "val/3.png")
    outside = np.ones((SIZE, SIZE), bool)
    outside[16:48, 16:48] = False
    assert (kinds[2][outside] == truth[outside]).all() and (kinds[2][~outside] != truth[~outside]).any()


def test_identity_of_frontalised_faces(
    data: Path, models: dict[str, str], tmp_path: Path, no_downloads: None
) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    for number in range(4):
        Image.fromarray(picture(data / "val" / f"{number}.png")[:, ::-1].copy()).save(
            theirs / f"{number}.png"
        )
    methods = ("-m", f"ours={models['edit']}", "-m", f"mirror={theirs}", "-m", "input")
    network = Path(models["exemplar"]) / "identity_encoder"
    out = tmp_path / "out"
    assert evaluate("fig-6.21", "--data", data, *methods, "--identity", network, "--output", out) == 0
    report = read_report(out)
    assert report["columns"][0] == "CSIM (identity: identity_encoder) ↑"
    assert f"Identity network: {network}." in report["notes"]
    rows = {row["method"]: row["values"][0] for row in report["rows"]}
    assert list(rows) == ["ours", "ours, inversion of the turned codes", "mirror", "input"]
    assert rows["input"] == pytest.approx(1, abs=1e-5)

    encoder = IdentityEncoder.from_pretrained(str(network)).eval()

    def csim(folder: Path) -> float:
        values = []
        for number in range(4):
            pair = [picture(data / "val" / f"{number}.png"), picture(folder / f"{number}.png")]
            tensors = [torch.nn.functional.interpolate(to_tensor(p), 256, mode="bilinear") for p in pair]
            with torch.no_grad():
                a, b = (encoder(tensor)[0] for tensor in tensors)
            values.append(float(a @ b / (a.norm() * b.norm())))
        return float(np.mean(values))

    assert rows["ours"] == pytest.approx(csim(out / "outputs/ours/frontal"), abs=1e-4)
    assert rows["mirror"] == pytest.approx(csim(theirs), abs=1e-4) != pytest.approx(1, abs=1e-4)
    # What is written is the face in the mean of its pose and its mirror image's, drawn anew everywhere.
    frontal = picture(out / "outputs/ours/frontal/0.png")
    assert (frontal != picture(data / "val/0.png")).any(-1).mean() > 0.9
    # The folder of a pipeline will do, and tables take the measure too.
    common = ("--identity", models["exemplar"], "--metrics", "csim", "-m", "input", "--count", 2)
    assert evaluate("6.6", "--data", data, *common, "--output", tmp_path / "table") == 0
    assert read_report(tmp_path / "table")["columns"] == ["CSIM (identity: exemplar) ↑"]


@pytest.mark.slow
def test_all_subsets_of_modalities(
    data: Path, models: dict[str, str], tmp_path: Path, no_downloads: None
) -> None:
    method = f"ours={models['edit']}?num_inference_steps=1"
    common = ("fig-6.12", "--data", data, "--count", 2, "-m", method, "--output", tmp_path)
    assert evaluate(*common, "--clip", models["clip"]) == 0
    report = read_report(tmp_path)
    assert len(report["rows"]) == len({row["method"] for row in report["rows"]}) == 32
    assert report["rows"][0]["method"] == "ours (+Ma)"
    assert report["rows"][-1]["method"] == "ours (+Sk+Se+Co+Ex+Te+Ma)"
    assert report["columns"] == ["LPIPS ↓", "PSNR ↑", "ImageNet distance ↓"]
    outputs = {
        row["method"]: picture(
            tmp_path
            / "outputs"
            / row["method"].replace(" ", "_").replace("(", "_").replace(")", "_")
            / "all/0.png"
        )
        for row in report["rows"]
    }
    assert len({pixels.tobytes() for pixels in outputs.values()}) > 24  # subsets differ
    with Image.open(tmp_path / "figure.png") as sheet:  # what is given, and four lines of eight
        assert sheet.size == (8 * 160, 5 * 178)


@pytest.mark.slow
def test_subsets_without_clip_are_sixteen(
    data: Path,
    models: dict[str, str],
    tmp_path: Path,
    no_downloads: None,
    no_clip: None,
) -> None:
    common = ("fig-6.12", "--data", data, "--count", 2, "-m", f"ours={models['edit']}")
    assert evaluate(*common, "--output", tmp_path) == 0
    values = [row["values"][1] for row in read_report(tmp_path)["rows"]]
    assert values.count(None) == 16
    with Image.open(tmp_path / "figure.png") as sheet:
        assert sheet.size == (8 * 160, 3 * 178)


def write_run(folder: Path, lines: list[dict]) -> Path:
    folder.mkdir()
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "curves.jsonl").write_text(text + '{"step": 4, "validation_fi')  # a kill cut it short
    return folder


def test_fid_by_training_iteration(tmp_path: Path) -> None:
    one = write_run(
        tmp_path / "one",
        [
            {"step": 100, "samples": 800, "generator_loss": 2.0},
            {"step": 100, "samples": 800, "validation_fid-lite0": 90.0, "validation_psnr": 20.0},
            {"step": 200, "samples": 1600, "validation_fid-lite0": 70.5},
            {"step": 300, "samples": 2400, "validation_fid-lite0": float("nan")},
        ],
    )
    three = write_run(
        tmp_path / "three",
        [
            {"step": 100, "samples": 800, "validation_fid-lite0": 80.0, "validation_fid": 60.0},
            {"step": 250, "samples": 2000, "validation_fid-lite0": 60.0, "validation_fid": 50.0},
        ],
    )
    out = tmp_path / "out"
    assert evaluate("fig-4.23", "--curves", f"T=1={one}", three, "--output", out) == 0
    report = read_report(out)
    assert report["columns"] == ["T=1: FID (Lite0) ↓", "three: FID (Lite0) ↓", "three: FID ↓"]
    rows = {row["method"]: row["values"] for row in report["rows"]}
    assert rows == {
        "iteration 100": [90.0, 80.0, 60.0],
        "iteration 200": [70.5, None, None],
        "iteration 250": [None, 60.0, 50.0],
    }
    assert (out / "figure.png").is_file() and (out / "table.csv").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("fig-4.23",), "--curves NAME=RUN"),
        (
            ("fig-4.23", "--curves", "{tmp}/none"),
            "holds no curves.jsonl; name the --output_dir of a training run",
        ),
        (("fig-4.23", "--curves", "{tmp}/blind"), "training scores fid-lite0 on two held-out pictures"),
        (("fig-4.23", "--curves", "{tmp}/blind", "-m", "input"), "takes no --method: runs are named"),
        (("3.1", "--data", "{data}", "-m", "input", "--curves", "{tmp}/blind"), "they are for fig-4.23"),
        (("fig-3.8",), "fig-3.8 needs the pictures of one folder"),
        (("fig-3.8", "--data", "{data}", "a={data}"), "fig-3.8 needs the pictures of one folder"),
        (("fig-3.8", "--data", "{data}", "--runs", "2"), "fig-3.8 takes no --runs"),
        (("fig-6.13", "--data", "{data}", "--clip", "x"), "fig-6.13 takes no --clip: it reads no texts"),
        (("fig-3.9", "--data", "{data}", "--skip-uncaptioned"), "fig-3.9 takes no --skip-uncaptioned"),
        (("fig-4.23", "--curves", "{tmp}/blind", "--count", "2"), "fig-4.23 takes no --count"),
        (("4.4", "--train", "x"), "table 4.4 takes no --train: it counts networks"),
        (("5.2", "--pairing", "random"), "table 5.2 takes no --pairing: it counts networks"),
        (("5.2", "--curves", "x"), "table 5.2 takes no --curves: they are for fig-4.23"),
        (
            ("4.5", "--data", "{data}", "-m", "input", "--parser", "x"),
            "takes no --parser: it needs no semantic",
        ),
        (("6.4", "--data", "{data}", "-m", "input", "--clip", "x"), "table 6.4 takes no --clip: it reads no"),
        (("fig-3.8", "--data", "{data}", "--curves", "{tmp}/blind"), "they are for fig-4.23"),
        (("fig-6.13", "--data", "{data}", "--masks", "{tmp}"), "fig-6.13 takes no --masks"),
        (("fig-3.8", "--data", "{data}", "--sheet", "-1"), "--sheet is -1; it must be 0 or more"),
        (("fig-3.8", "--data", "{data}", "-m", "{edit}"), "fig-3.8 looks into a FaceRestorePipeline"),
        (("fig-3.9", "--data", "{data}", "-m", "input"), "input is none"),
        (("fig-3.9", "--data", "{data}", "-m", "plain={tmp}/plain"), "was trained without them"),
        (("fig-3.8", "--data", "{data}", "-m", "plain={tmp}/undiffused"), "this model has none"),
        (("fig-6.21", "--data", "{data}"), "no network for it comes with facekit: say --identity FOLDER"),
        (
            ("fig-6.21", "--data", "{data}", "--identity", "{tmp}/none/at/all"),
            "is no folder, and no model on",
        ),
        (("fig-5.15",), "facekit exemplar PHOTO --mask MASK --exemplar FACE --second-exemplar OTHER --sweep"),
    ],
)
def test_what_is_refused(
    arguments: tuple[str, ...],
    message: str,
    data: Path,
    models: dict[str, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
) -> None:
    write_run(tmp_path / "blind", [{"step": 100, "samples": 800, "validation_psnr": 20.0}])
    if "plain" in arguments[-1]:
        tiny_restore_pipeline(use_smart=False).save_pretrained(tmp_path / "plain")
        pipeline = tiny_restore_pipeline()
        parts = pipeline.components | {"code_diffuser": None, "scheduler": None}
        type(pipeline)(**parts).save_pretrained(tmp_path / "undiffused")
    places = {"tmp": tmp_path, "data": data, "edit": models["edit"]}
    words = [word.format(**places) for word in arguments]
    assert evaluate(*words, "--output", tmp_path / "out") == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()
