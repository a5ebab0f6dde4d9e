"""The demo without a browser: start, named endpoint, command line."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from gradio_client import handle_file
from gradio_client.exceptions import AppError
from PIL import Image
from skimage import data

from facekit.images.photo import Photo, load_image, write_picture
from facekit.provenance import inspect
from facekit_demo.inpaint.tab import painted_mask
from tests.app.conftest import guarded
from tests.app.visitor import changed

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    Image.fromarray(data.astronaut()).save(folder / "astronaut.png")
    mask = np.zeros((512, 512), np.uint8)
    mask[100:140, 190:250] = 255
    Image.fromarray(mask).save(folder / "mask.png")
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    Image.new("L", (512, 512)).save(folder / "empty-mask.png")
    return folder


@pytest.mark.parametrize("region", ["face", "image", "auto"])
def test_named_endpoint(client, files, region) -> None:
    path, notes = client.predict(
        photo=handle_file(files / "astronaut.png"),
        mask=handle_file(files / "mask.png"),
        region=region,
        steps=2,
        seed=3,
        api_name="/inpaint",
    )
    difference = changed(Image.open(files / "astronaut.png"), Image.open(path))
    hole = np.asarray(Image.open(files / "mask.png")) > 0
    assert difference[hole].mean() > 0.9 and not difference[~hole].any()
    assert notes == ""
    told = inspect(path)
    assert told.metadata.kind == "edited" and told.metadata.revision.startswith("sha256:")


def test_named_endpoints_are_the_only_public_ones(client) -> None:
    endpoints = client.view_api(return_format="dict")["named_endpoints"]
    assert set(endpoints) == {"/restore", "/inpaint", "/exemplar", "/edit", "/mend"}


def test_a_mask_on_no_face_is_filled_from_what_is_around_it(client, files, tmp_path) -> None:
    mask = Image.new("L", (512, 512))
    mask.paste(255, (430, 430, 470, 480))
    mask.save(tmp_path / "beside.png")
    photo, hole = handle_file(files / "astronaut.png"), handle_file(tmp_path / "beside.png")
    path, notes = client.predict(photo, hole, steps=1, api_name="/inpaint")
    difference = changed(Image.open(files / "astronaut.png"), Image.open(path))
    assert difference[430:480, 430:470].mean() > 0.9 and not difference[np.asarray(mask) == 0].any()
    assert "not on a face" in notes
    with pytest.raises(AppError, match="does not touch"):
        client.predict(photo, hole, "face", 1, 0, api_name="/inpaint")


def test_endpoints_name_their_parameters_and_what_may_be_left_out(client) -> None:
    endpoints = client.view_api(return_format="dict")["named_endpoints"]
    needed = {
        "/restore": {"photo"},
        "/inpaint": {"photo", "mask"},
        "/exemplar": {"photo"},
        "/edit": {"photo", "mask"},
        "/mend": {"photo"},
    }
    for name, expected in needed.items():
        parameters = endpoints[name]["parameters"]
        assert {one["parameter_name"] for one in parameters if not one["parameter_has_default"]} == expected
        for one in parameters:
            assert "parameter_" not in one["label"], one
            if one["component"] == "File":
                assert one["example_input"]["path"] == one["parameter_name"].replace("_", "-") + ".png"
            assert one["example_input"] != {"foo": "bar"} and ".pdf" not in str(one["example_input"])


def restore(client, path, faces="all", fidelity=0.5, candidates=1, **options) -> tuple[list[str], str]:
    return client.predict(
        photo=handle_file(path),
        faces=faces,
        fidelity=fidelity,
        candidates=candidates,
        seed=3,
        **options,
        api_name="/restore",
    )


def test_restore_endpoint_gives_every_candidate(client, files) -> None:
    paths, notes = restore(client, files / "astronaut.png", "0", candidates=2)
    photo, first, second = (Image.open(path) for path in (files / "astronaut.png", *paths))
    difference = changed(photo, first)
    assert difference[62:177, 181:270].mean() > 0.9  # the face
    assert not difference[260:].any() and not difference[:, 320:].any()
    assert all(inspect(path).watermark.found and inspect(path).metadata.kind == "edited" for path in paths)
    assert changed(first, second).any() and notes == ""


def test_restore_endpoint_averages_where_asked_or_where_the_model_says_so(client, files) -> None:
    own, alone, averaged = (
        np.asarray(Image.open(restore(client, files / "astronaut.png", **options)[0][0]))
        for options in ({}, {"self_ensemble": False}, {"self_ensemble": True})
    )
    assert np.array_equal(own, alone) and not np.array_equal(own, averaged)


def test_sixteen_bits_come_back_as_sixteen(client, files) -> None:
    noise = np.random.default_rng(0).integers(0, 257, (512, 512, 3))
    pixels = np.asarray(Image.open(files / "astronaut.png")).astype(int) * 256 + noise
    photo = Photo(pixels.clip(0, 65535).astype(np.uint16), "RGB")
    with open(files / "deep.png", "wb") as file:
        write_picture(photo, file, "PNG")
    (result,), notes = restore(client, files / "deep.png")
    after = load_image(result).pixels
    assert after.dtype == np.uint16 and (after[260:] == photo.pixels[260:]).all() and notes == ""
    assert (after[62:177, 181:270] != photo.pixels[62:177, 181:270]).any()


@pytest.mark.parametrize("mode", ["L", "I;16", "RGBA", "CMYK"])
def test_restore_endpoint_takes_any_mode(client, files, mode) -> None:
    photo = Image.open(files / "astronaut.png")
    if mode == "I;16":
        photo = Image.fromarray(np.asarray(photo.convert("L")).astype(np.uint16) * 257)
    else:
        photo = photo.convert(mode)
    path = files / f"photo.{'tif' if mode == 'CMYK' else 'png'}"
    photo.save(path)
    (result,), _ = restore(client, path)
    result = Image.open(result)
    assert result.mode == ("RGB" if mode == "CMYK" else mode)  # there are no CMYK PNGs
    before, after = np.asarray(photo.convert(result.mode)), np.asarray(result)
    assert (before[260:] == after[260:]).all() and (before[62:177, 181:270] != after[62:177, 181:270]).any()


@pytest.mark.parametrize(
    ("photo", "options", "message"),
    [
        ("broken.png", {}, "broken.png"),
        ("astronaut.png", {"faces": "3"}, "face 3 was asked for"),
        ("astronaut.png", {"faces": "left"}, "say all, largest, or numbers"),
        ("astronaut.png", {"fidelity": 2}, "2"),
        ("astronaut.png", {"candidates": 9}, "9"),
    ],
)
def test_restore_endpoint_refuses_with_a_reason(client, files, photo, options, message) -> None:
    with pytest.raises(AppError, match=f"(?i){message}"):
        restore(client, files / photo, **options)


def test_photo_without_faces_comes_back_from_restore(client, files) -> None:
    (path,), notes = restore(client, files / "mask.png")
    assert not changed(Image.open(files / "mask.png"), Image.open(path)).any()
    assert "No face was found: the photo is unchanged." in notes


@pytest.mark.parametrize(
    ("photo", "mask", "steps", "message"),
    [
        ("broken.png", "mask.png", 3, "broken.png"),
        ("astronaut.png", "broken.png", 3, "broken.png"),
        ("astronaut.png", "mask.png", 99, "9"),
    ],
)
def test_endpoint_refuses_with_a_reason(client, files, photo, mask, steps, message) -> None:
    with pytest.raises(AppError, match=message):
        client.predict(
            handle_file(files / photo), handle_file(files / mask), "image", steps, 0, api_name="/inpaint"
        )


def test_empty_mask_gives_the_photo_back(client, files) -> None:
    photo, mask = handle_file(files / "astronaut.png"), handle_file(files / "empty-mask.png")
    path, notes = client.predict(photo, mask, "face", 1, 0, api_name="/inpaint")
    assert "The mask is empty" in notes
    assert not changed(Image.open(files / "astronaut.png"), Image.open(path)).any()


def test_the_demo_contacted_no_other_machine(client, demo, tmp_path) -> None:
    assert demo.contacts.read_text() == ""
    log = tmp_path / "contacts.txt"
    for call in ("socket.create_connection(('192.0.2.1', 80), 1)", "socket.getaddrinfo('name.invalid', 80)"):
        program = [sys.executable, "-c", f"import socket; {call}"]
        assert subprocess.run(program, env=os.environ | guarded(log), stderr=subprocess.PIPE).returncode == 1
    assert log.read_text() == "192.0.2.1\nname.invalid\n"  # the guard that saw nothing does see


def test_host_and_port_come_from_options_or_environment(monkeypatch, capsys) -> None:
    specification = importlib.util.spec_from_file_location("demo_app", ROOT / "app.py")
    app = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(app)
    monkeypatch.setenv("HOST", "0.0.0.0")
    monkeypatch.setenv("PORT", "8123")
    assert (app.parse_arguments([]).host, app.parse_arguments([]).port) == ("0.0.0.0", 8123)
    options = app.parse_arguments(["--host", "127.0.0.1", "--port", "9000"])
    assert (options.host, options.port) == ("127.0.0.1", 9000)
    for wrong in ("99999", "-1", "0", "http"):
        with pytest.raises(SystemExit):
            app.parse_arguments(["--port", wrong])
        assert f"{wrong} is no port; ports are numbers from 1 to 65535" in capsys.readouterr().err


@pytest.mark.slow
def test_a_taken_port_is_said_so(demo) -> None:
    port = demo.url.rsplit(":", 1)[1]
    command = [sys.executable, "app.py", "--port", port]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=180)
    assert done.returncode == 1
    assert done.stderr == f"Cannot listen on 127.0.0.1:{port} (Address already in use). Try --port.\n"


def test_painted_mask_joins_layers_and_takes_the_photos_size() -> None:
    layers = [Image.new("RGBA", (40, 30), (255, 0, 0, 0)) for _ in range(2)]
    layers[0].paste((255, 0, 0, 255), (0, 0, 10, 30))
    layers[1].paste((255, 0, 0, 1), (30, 0, 40, 30))
    mask = np.asarray(painted_mask({"layers": layers}, (80, 60)))
    assert mask.shape == (60, 80) and set(np.unique(mask)) == {0, 255}
    assert mask[:, :19].all() and mask[:, 61:].all() and not mask[:, 22:58].any()


@pytest.mark.parametrize("painting", [None, {"layers": []}, {"layers": [Image.new("RGBA", (9, 9))]}])
def test_nothing_painted_is_refused(painting) -> None:
    with pytest.raises(ValueError, match="paint over"):
        painted_mask(painting, (9, 9))
