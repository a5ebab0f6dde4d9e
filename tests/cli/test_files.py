"""What commands make of folders, names and places: nothing is left out in silence, and faults show before the work."""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.data import astronaut

from facekit.images import files as disk
from facekit.pipelines.edit.session.store import write_session
from facekit_cli.batch import command as batch
from facekit_cli.main import build_parser, find_commands, main
from facekit_cli.photos import find_photos, name_results, picture_suffixes
from tests.tiny.pipelines import tiny_inpaint_pipeline, tiny_restore_pipeline


@pytest.fixture(scope="module")
def inpainter(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("inpainter")
    tiny_inpaint_pipeline().save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def restorer(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("restorer")
    tiny_restore_pipeline(identity=False).save_pretrained(folder)
    return str(folder)


@pytest.fixture
def picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Image.Image:
    """A photo with a face; mask.png in the working folder marks a hole in it."""
    monkeypatch.chdir(tmp_path)
    mask = np.zeros((128, 128), dtype=np.uint8)
    mask[40:80, 40:90] = 255
    Image.fromarray(mask).save("mask.png")
    return Image.fromarray(np.ascontiguousarray(astronaut()[0:128, 160:288]))


def inpaint(model: str, *arguments: object) -> int:
    line = ["inpaint", *arguments, "--model", model, "--region", "image", "--steps", 1]
    return main([str(a) for a in (line if "--mask" in arguments else [*line, "--mask", "mask.png"])])


def names(folder: str | Path) -> set[str]:
    return {file.relative_to(folder).as_posix() for file in Path(folder).rglob("*") if file.is_file()}


# Folders


def fill_a_folder(picture: Image.Image) -> set[str]:
    """Everything that a person's folder may hold; returns the names of what can be read."""
    folder = Path("photos")
    (folder / "sub").mkdir(parents=True)
    readable = {"one.jfif", "two.JPG", "three.jpe", "four.ppm", "six.jpg", "six.png", "seven.psd.tiff"}
    for name in (*readable, ".hidden.png", "sub/five.png"):
        kind = "JPEG" if name.lower().endswith(("jfif", "jpg", "jpe")) else None
        picture.save(folder / name, format=kind)
    (folder / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    (folder / "circle.png").symlink_to("circle.png")
    (folder / "raw.CR2").write_bytes(b"II*\0" + bytes(100))
    (folder / "Thumbs.db").write_bytes(b"x")
    (folder / "link.png").symlink_to("four.ppm")
    (folder / "nowhere.png").symlink_to("missing.png")
    os.mkfifo(folder / "pipe.png")
    return readable | {"link.png"}


def test_every_file_of_a_folder_is_done_skipped_or_failed(
    picture: Image.Image, inpainter: str, capsys: pytest.CaptureFixture
) -> None:
    readable = fill_a_folder(picture)
    assert inpaint(inpainter, "photos", "-o", "out", "--json", "r.json") == 1
    results = {"one.png", "two.png", "three.png", "four.png", "six.jpg.png", "six.png.png", "seven.psd.png"}
    assert names("out") == results | {"link.png"}
    report = json.loads(Path("r.json").read_text())
    told = {Path(entry["photo"]).name: entry for entry in report["photos"]}
    assert told.keys() == {file.name for file in Path("photos").iterdir()}
    assert {name for name, entry in told.items() if entry["status"] == "done"} == readable
    assert {name for name, entry in told.items() if entry["status"] == "failed"} == {
        "circle.png",
        "phone.heic",
        "nowhere.png",
    }
    assert "does not exist" in told["nowhere.png"]["error"]
    reasons = {name: entry["reason"] for name, entry in told.items() if entry["status"] == "skipped"}
    assert reasons == {
        ".hidden.png": "hidden",
        "Thumbs.db": "not named like a picture that can be read",
        "pipe.png": "no regular file",
        "raw.CR2": "not named like a picture that can be read",
        "sub": "sub-folders are not entered",
    }
    printed = capsys.readouterr()
    assert "8 done, 3 failed, 5 skipped" in printed.out and "skipped: photos/pipe.png: no reg" in printed.err

    # A second run finds every result again.
    times = {file: file.stat().st_mtime_ns for file in Path("out").iterdir()}
    assert inpaint(inpainter, "photos", "-o", "out", "--skip-existing") == 1
    assert "0 done, 3 failed, 13 skipped" in capsys.readouterr().out
    assert {file: file.stat().st_mtime_ns for file in Path("out").iterdir()} == times


def test_a_batch_tells_what_it_leaves_out(
    picture: Image.Image, restorer: str, capsys: pytest.CaptureFixture
) -> None:
    fill_a_folder(picture)
    Path("elsewhere").mkdir()
    Path("photos/other").symlink_to(Path("elsewhere").resolve())
    assert batch.main(["restore", "photos", "-o", "out", "--model", restorer, "--cpu"]) == 1
    printed = capsys.readouterr()
    assert "9 done, 3 failed, 5 skipped" in printed.out
    for line in (
        "skipped: .hidden.png: hidden",
        "skipped: other: links to folders are not followed",
        "skipped: pipe.png: no regular file",
        "failed: nowhere.png: ",
        "failed: phone.heic: ",
    ):
        assert line in printed.err
    assert {"six.jpg.png", "six.png.png", "link.png", "sub/five.png", "three.png"} < names("out")


def test_a_photo_named_twice_is_done_once_and_a_link_apart(
    picture: Image.Image, inpainter: str, capsys: pytest.CaptureFixture
) -> None:
    picture.save("a.png")
    Path("b.png").symlink_to("a.png")
    assert inpaint(inpainter, "a.png", "./a.png", Path("a.png").resolve(), "b.png", "-o", "out") == 0
    assert "2 done" in capsys.readouterr().out and names("out") == {"a.png", "b.png"}


def test_a_folder_without_pictures_says_what_is_there(
    picture: Image.Image, inpainter: str, capsys: pytest.CaptureFixture
) -> None:
    Path("films").mkdir()
    Path("films/one.mp4").touch()
    assert inpaint(inpainter, "films", "-o", "out") == 2
    assert "the folder films holds no pictures, only .mp4 and the like" in capsys.readouterr().err


def test_masks_of_photos_that_differ_in_their_ending(picture: Image.Image, inpainter: str) -> None:
    """By the whole name where several would fit."""
    for folder in ("photos", "masks"):
        Path(folder).mkdir()
    for name in ("a.jpg", "a.png", "b.jpg", "b.png"):
        picture.save(f"photos/{name}")
    for name, edge in (("a.jpg.png", 20), ("a.png", 40), ("b.png", 60)):
        hole = np.zeros((128, 128), dtype=np.uint8)
        hole[10:edge, 10:edge] = 255
        Image.fromarray(hole).save(f"masks/{name}")
    assert inpaint(inpainter, "photos", "--mask", "masks", "-o", "out") == 0
    for name, edge in (("a.jpg", 20), ("a.png", 40), ("b.jpg", 60), ("b.png", 60)):
        before, after = (np.asarray(Image.open(f)) for f in (f"photos/{name}", f"out/{name}.png"))
        changed = np.argwhere((before != after).any(axis=-1))
        assert changed.max() in range(edge - 3, edge), name


@pytest.mark.parametrize(
    ("photos", "taken", "expected"),
    [
        (["a.jpg", "b.png"], {}, {"a.jpg": "a", "b.png": "b"}),
        (["a.jpg", "a.png"], {}, {"a.jpg": "a.jpg", "a.png": "a.png"}),
        (["A.jpg", "a.png"], {}, {"A.jpg": "A.jpg", "a.png": "a.png"}),
        (["x/a.jpg", "y/a.png"], {}, {"x/a.jpg": "x/a", "y/a.png": "y/a"}),
        # Whose name was free keeps it, so that a photo that comes later takes nobody's result.
        (["a.jpg.png"], {}, {"a.jpg.png": "a.jpg"}),
        (["a.jpg", "a.jpg.png", "a.png"], {}, {"a.jpg": "a.jpg.jpg", "a.jpg.png": "a.jpg", "a.png": "a.png"}),
        (["a.jpg", "a.png"], {"a.png": "a"}, {"a.jpg": "a.jpg", "a.png": "a"}),
        (["a.jpg"], {"gone.png": "a"}, {"a.jpg": "a.jpg", "gone.png": "a"}),
        (["a"], {"a.png": "a"}, {"a": "a_", "a.png": "a"}),
    ],
)
def test_names_of_results(photos: list[str], taken: dict[str, str], expected: dict[str, str]) -> None:
    assert name_results(photos, taken) == expected
    assert name_results(photos[::-1], taken) == expected


def test_photos_keep_their_order_and_come_once(tmp_path: Path) -> None:
    first, second = tmp_path / "w.png", tmp_path / "a.png"
    first.touch()
    second.touch()
    assert find_photos([first, second, tmp_path / "." / "w.png"]).photos == [first, second]


def test_all_kinds_that_pillow_reads_are_pictures() -> None:
    known = ".avif .bmp .gif .jpeg .jpg .jpe .jfif .jp2 .mpo .png .apng .ppm .pgm .tga .tif .tiff .webp .heic .heif"
    assert set(known.split()) <= picture_suffixes()
    assert not {".eps", ".pdf", ".mpg", ".h5", ".txt", ""} & picture_suffixes()


@pytest.mark.parametrize("seed", ["-1", "99999999999999999999", "1.5", "x"])
def test_seeds_that_are_none(picture: Image.Image, seed: str, capsys: pytest.CaptureFixture) -> None:
    picture.save("a.png")
    for command in (["restore"], ["inpaint", "--mask", "mask.png"]):
        with pytest.raises(SystemExit) as ended:
            main([*command, "a.png", "-o", "out", "--seed", seed])
        assert ended.value.code == 2 and f"{seed} is no seed: whole numbers from 0" in capsys.readouterr().err


# Names


def test_the_longest_names(picture: Image.Image, inpainter: str) -> None:
    Path("photos").mkdir()
    long = [stem + ".png" for stem in ("x" * 251, "祖" * 83 + "xx", "x" * 240)]
    for name in long:
        picture.save(f"photos/{name}")
    assert inpaint(inpainter, "photos", "-o", "out") == 0
    assert names("out") == set(long)


def test_a_result_with_too_long_a_name_fails_before_the_networks(
    picture: Image.Image, restorer: str, capsys: pytest.CaptureFixture
) -> None:
    Path("photos").mkdir()
    for name in ("x" * 251 + ".png", "祖" * 82 + ".png", "short.png"):
        picture.save(f"photos/{name}")
    options = ["--model", restorer, "--candidates", 2, "--save-faces"]
    line = ["restore", *map(str, ["photos", "-o", "out", *options])]
    assert main([*line, "--json", "r.json"]) == 1
    report = {entry["photo"]: entry for entry in json.loads(Path("r.json").read_text())["photos"]}
    long = report[f"photos/{'x' * 251}.png"]
    assert long["error"].endswith("a name of 259 bytes, and 255 are possible; rename the photo")
    assert "seconds" not in long and report["photos/short.png"]["status"] == "done"
    assert report[f"photos/{'祖' * 82}.png"]["status"] == "done"  # 246 bytes, and "-1-faces"
    line[line.index("out")] = "out2"
    assert batch.main([*line, "--cpu"]) == 1
    assert "2 done, 1 failed, 0 skipped: out2" in capsys.readouterr().out
    assert {name for name in names("out2") if "/" not in name} > {"short-1.png", "short-2.png"}


def test_parts_do_not_depend_on_the_name(tmp_path: Path) -> None:
    long = tmp_path / ("x" * 255)
    disk.write_atomically(long, lambda file: file.write(b"whole"))
    assert long.read_bytes() == b"whole" and len(list(tmp_path.iterdir())) == 1
    # What killed processes left, of this version and of one before; others' files stay.
    left = [disk.part_path(tmp_path / "a.png"), tmp_path / ".a.png.0123abcd.part"]
    others = [disk.part_path(tmp_path / "b.png"), tmp_path / ".b.png.0123abcd.part", tmp_path / ".a.png.x"]
    for file in (*left, *others):
        file.touch()
    disk.remove_parts(tmp_path, {"a.png"})
    assert set(tmp_path.iterdir()) == {long, *others}
    disk.remove_parts(tmp_path)
    assert set(tmp_path.iterdir()) == {long, others[2]}


def test_the_home_folder_is_meant_everywhere(
    picture: Image.Image, inpainter: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(Path("home").absolute()))
    Path("home").mkdir()
    picture.save("home/a.png")
    os.rename("mask.png", "home/mask.png")
    Path("home/model").symlink_to(inpainter)
    line = ["inpaint", "~/a.png", "--mask=~/mask.png", "--output=~/out", "--json=~/r.json", "--model=~/model"]
    assert main([*line, "--region", "image"]) == 0
    assert names("home") >= {"out/a.png", "r.json"} and not Path("~").exists()


def options_of(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from options_of(command)
        else:
            yield action


def test_no_place_is_taken_as_it_is() -> None:
    """Every argument that names a file, folder or model expands the home folder."""
    metavars = {"DIR", "FILE", "FOLDER", "MODEL", "OUT", "PHOTO", "PICTURE", "REPORT", "SOURCE", "CHECKPOINT"}
    metavars |= {"NAME=FOLDER", "[NAME=]FOLDER", "KIND=PATH"}
    found = 0
    for parser in (build_parser(), batch.build_parser()):
        for option in options_of(parser):
            if (
                option.type is Path
                or option.metavar in metavars
                or option.dest in ("model", "mask", "sketch")
            ):
                assert option.type is not None and option.type is not Path, option
                assert "~" not in str(option.type("~/x")), option
                found += 1
    assert found > 50


# Places that cannot be written


@pytest.fixture
def unwritable(picture: Image.Image) -> Iterator[Path]:
    """A folder that is there and takes no files, from root neither."""
    if os.geteuid() == 0:
        if not Path("/proc/self").is_dir():
            pytest.skip("root may write everywhere here")
        yield Path("/proc/self")
        return
    folder = Path("closed")
    folder.mkdir(mode=0o555)
    yield folder
    folder.chmod(0o755)


LINES = [
    ["restore", "a.png", "-o", "HERE", "--model", "not/there"],
    ["restore", "a.png", "-o", "out", "--model", "not/there", "--json", "HERE/r.json"],
    ["inpaint", "a.png", "--mask", "mask.png", "-o", "HERE", "--model", "not/there"],
    ["exemplar", "a.png", "--mask", "mask.png", "-e", "a.png", "-o", "HERE", "--model", "not/there"],
    ["edit", "a.png", "--mask", "mask.png", "-o", "HERE", "--model", "not/there"],
    ["edit", "a.png", "--mask", "mask.png", "-o", "out", "--save-session", "HERE", "--model", "not/there"],
    ["inspect", "a.png", "--json", "HERE/r.json"],
    ["convert", "grig", "a.png", "-o", "HERE/model"],
    ["evaluate", "3.1", "--data", "photos", "--method", "input", "-o", "HERE"],
    ["evaluate", "3.1", "--data", "photos", "--export-inputs", "HERE"],
    ["study", "a=photos", "b=photos", "--answers", "HERE"],
    ["batch", "restore", "photos", "-o", "HERE", "--model", "not/there"],
]


@pytest.mark.parametrize("place", ["below a file", "closed"])
@pytest.mark.parametrize("line", LINES, ids=" ".join)
def test_a_place_that_cannot_be_written_is_refused_before_any_work(
    line: list[str],
    place: str,
    picture: Image.Image,
    unwritable: Path,
    capsys: pytest.CaptureFixture,
) -> None:
    """Also before the model is loaded, which is not there."""
    picture.save("a.png")
    Path("photos").mkdir()
    picture.save("photos/a.png")
    folder = unwritable / "new" if place == "closed" else Path("a.png/new")
    line = [word.replace("HERE", str(folder)) for word in line]
    before = names(".")
    run = batch.main if line[0] == "batch" else main
    assert run(line[1:] if line[0] == "batch" else line) == 2
    error = capsys.readouterr().err
    assert (
        "lies below the file a.png" if place == "below a file" else "nothing can be written into"
    ) in error
    assert "not/there" not in error and "Traceback" not in error
    assert names(".") == before and not Path("out").exists()


def test_a_folder_or_file_in_the_way(
    picture: Image.Image, restorer: str, capsys: pytest.CaptureFixture
) -> None:
    picture.save("a.png")
    line = ["restore", "a.png", "-o", "out", "--model", "not/there"]
    Path("out/a.png").mkdir(parents=True)
    assert main([*line, "--overwrite"]) == 2
    assert "out/a.png is a folder, and the result of a photo would have its name" in capsys.readouterr().err
    Path("out/a.png").rmdir()
    Path("out/a-faces").touch()
    assert main([*line, "--save-faces"]) == 2
    assert "--output out/a-faces is a file; name a folder" in capsys.readouterr().err
    assert main([*line, "--json", "out"]) == 2
    assert "--json out is there and no file" in capsys.readouterr().err


# What is there already

REPORTS = [  # lines whose report would replace something, and what is said
    ("restore p.jpg -o k.png --json p.jpg", "--json p.jpg is named like a picture"),
    ("restore p.jpg -o k.png --json k.PNG", "--json k.PNG is named like a picture"),
    ("restore photo -o k.png --json photo", "--json photo is there and no report"),
    ("restore p.jpg -o k.png --json mine.json --overwrite", "--json mine.json is there and no report"),
    ("restore p.jpg -o out --json out", "--json out is where --output writes"),
    ("restore p.jpg -o out/in --json out", "--json out is where --output writes"),
    ("edit p.jpg -o k.png --script mine.json --json mine.json", "--json mine.json is there and no report"),
    ("edit p.jpg -o k.png -m mask.png --save-session s --json s/p.zip", "--json s/p.zip is where a session"),
    ("mend p.jpg -o k.png --save-mask masks --json masks", "--json masks is where --save-mask writes"),
    ("inspect p.jpg --json victim.jpg", "--json victim.jpg is named like a picture"),
    ("inspect p.jpg --json mine.json", "--json mine.json is there and no report"),
    ("mend p.jpg -o k.png -m mask.png --save-mask mask.png --overwrite", "mask.png is what --mask names"),
    ("edit p.jpg -o k.png --script s/p.zip --save-session s --overwrite", "s/p.zip is what --script names"),
]


@pytest.mark.parametrize(("line", "message"), REPORTS, ids=[line for line, _ in REPORTS])
def test_no_option_replaces_what_it_did_not_write(
    line: str, message: str, picture: Image.Image, capsys: pytest.CaptureFixture
) -> None:
    for name in ("p.jpg", "victim.jpg"):
        picture.save(name)
    picture.save("photo", format="PNG")
    Path("mine.json").write_text('{"edits": [{"mask": "mask.png", "attributes": {}}]}')
    if "--script s" in line:
        Path("s").mkdir()
        write_session(Path("s/p.zip"), {"edits": [{"mask": "rim"}]}, {})
    before = {name: Path(name).read_bytes() for name in names(".")}
    command = line.split()
    assert main(command if command[0] == "inspect" else [*command, "--model", "not/there"]) == 2
    assert message in capsys.readouterr().err
    assert {name: Path(name).read_bytes() for name in names(".")} == before and not Path("out").exists()


@pytest.mark.parametrize("place", ["photos", "photos/new.png", "./photos/"])
def test_results_do_not_come_among_the_photos_of_a_folder(
    place: str, picture: Image.Image, inpainter: str, capsys: pytest.CaptureFixture
) -> None:
    Path("photos").mkdir()
    picture.save("photos/a.jpg")
    assert inpaint(inpainter, "photos", "-o", place) == 2
    assert (
        "the results would lie among the photos of photos; name another --output" in capsys.readouterr().err
    )
    line = ["mend", "photos", "-o", "out", "--save-mask", "photos"]
    assert main(line) == 2 and "name another --save-mask" in capsys.readouterr().err
    assert names("photos") == {"a.jpg"}
    assert inpaint(inpainter, "photos", "-o", "photos/new") == 0
    assert names("photos") == {"a.jpg", "new/a.png"}


def test_several_results_that_exist_are_told_in_the_plural(
    picture: Image.Image, capsys: pytest.CaptureFixture
) -> None:
    Path("out").mkdir()
    for name in ("a.png", "b.png"):
        picture.save(name)
        picture.save(f"out/{name}")
    assert main(["restore", "a.png", "b.png", "-o", "out"]) == 2
    assert "out/a.png and 1 more exist already; say --overwrite" in capsys.readouterr().err


def test_a_result_that_was_not_written_is_not_named(
    inpainter: str, picture: Image.Image, capsys: pytest.CaptureFixture
) -> None:
    Path("a.png").touch()
    assert inpaint(inpainter, "a.png", "-o", "x.png") == 1
    printed = capsys.readouterr()
    assert printed.out == "0 done, 1 failed, 0 skipped\n"
    assert "failed: a.png is empty (0 bytes). Copy or download it again." in printed.err


def test_a_report_replaces_an_earlier_one_and_an_empty_file(picture: Image.Image, inpainter: str) -> None:
    picture.save("a.png")
    Path("r.json").touch()
    assert inpaint(inpainter, "a.png", "-o", "out", "--json", "r.json") == 0
    assert main(["inspect", "a.png", "--json", "r.json"]) == 0
    assert inpaint(inpainter, "a.png", "-o", "out", "--skip-existing", "--json", "r.json") == 0
    assert json.loads(Path("r.json").read_text())["skipped"] == 1


@pytest.mark.parametrize("line", ["convert grig model/net.pth", "fetch grig --from model", "export model"])
def test_a_folder_is_not_replaced_with_what_it_is_made_of(
    line: str, picture: Image.Image, capsys: pytest.CaptureFixture
) -> None:
    Path("model").mkdir()
    Path("model/net.pth").write_bytes(b"weights")
    assert main([*line.split(), "-o", "model", "--overwrite"]) == 2
    assert "is in model, which would be replaced; name another --output" in capsys.readouterr().err
    assert names("model") == {"net.pth"}


# Words


def test_animated_files_and_pages(
    picture: Image.Image, inpainter: str, capsys: pytest.CaptureFixture
) -> None:
    other = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    for name in ("a.gif", "a.tif", "a.webp"):
        picture.save(name, save_all=True, append_images=[other])
    line = ["a.gif", "a.tif", "a.webp"]
    for run in (lambda: inpaint(inpainter, *line, "-o", "out"), lambda: main(["inspect", *line])):
        assert run() == 1
        failed = [text for text in capsys.readouterr().err.splitlines() if text.startswith("failed: ")]
        assert len(failed) == 3
        for text in failed:
            assert "2 frames" in text and "magick 'FILE[0]' frame.png" in text and "image." not in text


def test_too_large_a_photo(
    picture: Image.Image, inpainter: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    Image.new("1", (15000, 15000)).save("a.png")
    assert inpaint(inpainter, "a.png", "-o", "out") == 1
    assert "Make it smaller." in (error := capsys.readouterr().err) and "max_pixels" not in error


@pytest.mark.parametrize(
    "line",
    [
        ["inspect", "https://example.com/a.jpg"],
        ["inpaint", "a.png", "--mask", "https://example.com/mask.png", "-o", "out"],
        ["restore", "a.png", "-o", "out", "--model", "https://huggingface.co/owner/name"],
        ["study", "a=photos", "https://example.com/b", "--answers", "out"],
    ],
)
def test_web_addresses(line: list[str], picture: Image.Image, capsys: pytest.CaptureFixture) -> None:
    picture.save("a.png")
    with pytest.raises(SystemExit) as stop:
        main(line)
    assert stop.value.code == 2
    (address,) = [word for word in line if "://" in word]
    assert f"{address} is a web address; " in capsys.readouterr().err


@pytest.mark.slow
def test_float16_on_a_processor_works_without_a_warning(picture: Image.Image, inpainter: str) -> None:
    picture.save("a.png")
    line = ["facekit", "inpaint", "a.png", "--mask", "mask.png", "--region", "image", "-o", "out"]
    process = start(*line, "--model", inpainter, "--dtype", "float16", "--device", "cpu")
    error = process.communicate(timeout=300)[1]
    assert process.returncode == 0 and "not recommended" not in error


# Ends


def start(*command: str, **options: object) -> subprocess.Popen:
    """A process of ours that Ctrl-C reaches, which it does not in jobs that a shell runs in the background."""
    return subprocess.Popen(
        [sys.executable, "-m", *command],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        **options,
    )


@pytest.mark.parametrize(
    "command",
    [
        ["facekit", "--help"],
        ["facekit", "evaluate", "--list"],
        ["facekit", "inspect", "a.png"],
        ["facekit_cli.batch", "restore", "--help"],
    ],
    ids=" ".join,
)
def test_nobody_reads_on(command: list[str], picture: Image.Image) -> None:
    picture.save("a.png")
    reader, writer = os.pipe()
    os.close(reader)
    process = start(*command, stdout=writer)
    os.close(writer)
    error = process.communicate(timeout=300)[1]
    # argparse itself overlooks that nobody reads its help.
    assert (process.returncode, error) == (0 if "--help" in command else 141, "")


def test_names_that_no_terminal_can_show(picture: Image.Image) -> None:
    with contextlib.suppress(OSError):
        picture.save(os.fsdecode(b"no-utf8-\xff.png"))
        process = start("facekit", "inspect", ".", stdout=subprocess.PIPE)
        assert "no-utf8-" in process.communicate(timeout=300)[0] and process.returncode == 0


@pytest.mark.slow
def test_ctrl_c_in_a_batch_ends_quietly(picture: Image.Image, restorer: str) -> None:
    Path("photos").mkdir()
    for number in range(40):
        picture.save(f"photos/{number:02d}.png")
    line = [
        "facekit_cli.batch",
        "restore",
        "photos",
        "-o",
        "out",
        "--model",
        restorer,
        "--cpu",
        "--batch-size",
        "1",
    ]
    process = start(*line, stdout=subprocess.PIPE)
    for text in iter(process.stderr.readline, ""):
        if "restore:" in text:
            break
    process.send_signal(signal.SIGINT)
    error = process.communicate(timeout=300)[1]
    assert process.returncode == 130
    assert error.splitlines()[-1] == "interrupted; finished files are complete, the same command goes on"
    assert "Traceback" not in error


@pytest.mark.parametrize(
    "command",
    [
        ["facekit_cli.batch", "--help"],
        ["facekit_cli.batch", "restore", "--help"],
        ["facekit_cli.evaluation", "--help"],
        *(["facekit", name, "--help"] for name in find_commands()[0]),
    ],
    ids=" ".join,
)
def test_help_does_not_wait_for_torch(command: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", *command], capture_output=True, text=True, timeout=120
    )
    imported = {line.split("|")[-1].strip() for line in done.stderr.splitlines() if "|" in line}
    assert done.returncode == 0 and done.stdout.startswith("usage: ")
    assert not imported & {"torch", "diffusers", "numpy", "cv2"}
