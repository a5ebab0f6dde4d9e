"""From `facekit evaluate` to a study's summary, with the files as they are written: nothing is renamed or moved."""

import json
from http.client import HTTPConnection
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facekit_cli.main import main
from facekit_cli.study.answers import Answers
from facekit_cli.study.questions import open_study
from tests.helpers.evaluation import evaluate
from tests.helpers.serving import ask, serve


def test_masked_and_true_pictures_of_all_bands(
    data: Path, models: dict[str, str], tmp_path: Path, no_downloads: None, capsys: pytest.CaptureFixture
) -> None:
    """The ranking of section 4.3.3: masked picture, ground truth and the shuffled outputs, over several sets."""
    inputs, out = tmp_path / "in", tmp_path / "out"
    methods = [f"{name}={models['inpaint']}?num_inference_steps={n}" for name, n in (("one", 1), ("two", 2))]
    arguments = [part for method in methods for part in ("--method", method)]
    given = (
        "fig-4.8",
        "--data",
        data,
        "--count",
        2,
        "--export-inputs",
        inputs,
        "--output",
        out,
        "--sheet",
        0,
    )
    assert evaluate(*given, *arguments) == 0
    folders = [f"{name}={out}/outputs/{name}/*" for name in ("one", "two")]
    shown = [f"masked={inputs}/*/image", f"original={inputs}/*/truth"]
    study = open_study(folders, "ranking", inputs=shown)
    bands = sorted(folder.name for folder in inputs.iterdir())
    assert len(bands) > 1 and study.pictures == [f"{band}/{n}" for band in bands for n in range(2)]

    with serve(study, Answers(tmp_path / "answers")) as port:
        connection = HTTPConnection("127.0.0.1", port, timeout=20)
        for number in range(len(study.pictures)):
            question = json.loads(ask(connection, "/question?participant=anna")[1])
            asked = study.questions_for("anna")[number]
            seen = [
                np.asarray(Image.open(BytesIO(ask(connection, f"/{a}")[1]))) for a in question["pictures"]
            ]
            for method, pixels in zip(asked.methods, seen, strict=True):
                file = out / "outputs" / method / f"{asked.picture}.png"
                assert np.array_equal(pixels, np.asarray(Image.open(file)))
            masked, true = (
                np.asarray(Image.open(BytesIO(ask(connection, f"/{one['picture']}")[1])))
                for one in question["given"]
            )
            band, name = asked.picture.split("/")
            hole = np.asarray(Image.open(inputs / band / "mask" / f"{name}.png")) > 0
            assert (masked[hole] == 128).all() and (masked == true)[~hole].all() and hole.any()
            two_first = [asked.methods.index("two"), asked.methods.index("one")]
            answer = {"participant": "anna", "number": number, "order": two_first}
            assert ask(connection, "/answer", answer)[0] == 200
        connection.close()

    capsys.readouterr()
    command = [
        "study",
        "--summary",
        "--answers",
        str(tmp_path / "answers"),
        "--chart",
        str(tmp_path / "c.png"),
    ]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert (
        "| two | 1.00 | 1.00 to 1.00 |" in said and "| one | 0.00% |" in said and "| two | 100.00% |" in said
    )
    assert (tmp_path / "c.png").is_file()


def test_sketch_map_and_words_of_an_edit(data: Path, tmp_path: Path) -> None:
    """Table 6.3: consistency with the modalities can be judged only where they are shown."""
    inputs = tmp_path / "in"
    assert evaluate("6.1", "--data", data, "--count", 2, "--export-inputs", inputs) == 0
    kinds = ("image", "sketch", "semantics", "prompt")
    shown = [f"{kind}={inputs / 'all' / kind}" for kind in kinds]
    outputs = [f"ours={inputs / 'all/truth'}", f"other={inputs / 'all/image'}"]
    study = open_study(outputs, "2afc", inputs=[*shown, f"caption={data / 'val/metadata.jsonl'}"])
    assert [given.caption for given in study.given] == [*kinds, "caption"]
    assert [given.maps for given in study.given] == [False, False, True, False, False]
    assert study.given[3].words == study.given[4].words == {"0": "a face", "1": "a face"}
    assert all(picture in given for given in study.given for picture in study.pictures)
