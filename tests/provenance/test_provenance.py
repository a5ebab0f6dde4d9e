"""Origin of a picture: written into files, read back by us and others, and by default in all that the tools write."""

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from skimage.data import astronaut

from facekit import provenance
from facekit.images.origin import read_packet, xmp_packet
from facekit.images.photo import load_image
from facekit.provenance import Provenance, add_watermark, describe, inspect, save
from facekit_cli.main import main
from tests.helpers.masks import box_mask
from tests.tiny.pipelines import tiny_inpaint_pipeline, tiny_restore_pipeline

RECORD = Provenance("edited", "facekit 0.1.0", "org/mod&el", "0123abc")
IPTC = "http://cv.iptc.org/newscodes/digitalsourcetype/"


@pytest.fixture(scope="module")
def face() -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(astronaut()[0:256, 100:356]))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny-model"
    tiny_inpaint_pipeline().save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", ["edited", "generated"])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
def test_files_carry_the_record(face: Image.Image, tmp_path: Path, suffix: str, kind: str) -> None:
    record = Provenance(kind, RECORD.software, RECORD.model, RECORD.revision)
    with_profile = face.copy()
    with_profile.info.update(dpi=(300, 300), icc_profile=b"profile")
    save(with_profile, tmp_path / f"a{suffix}", record)
    with Image.open(tmp_path / f"a{suffix}") as opened:
        packet = opened.info["xmp"]
        assert opened.info["icc_profile"] == b"profile"
    # As any XML parser sees it
    (told,) = ElementTree.fromstring(packet).iter("{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description")
    name = {"edited": "compositeWithTrainedAlgorithmicMedia", "generated": "trainedAlgorithmicMedia"}[kind]
    extension = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}"
    assert told.attrib[f"{extension}DigitalSourceType"] == IPTC + name
    assert told.attrib[f"{extension}AISystemUsed"] == "org/mod&el"
    assert told.attrib["{http://ns.adobe.com/xap/1.0/}CreatorTool"] == "facekit 0.1.0"
    assert read_packet(packet) == record
    assert inspect(tmp_path / f"a{suffix}").metadata == record


def test_files_without_record_and_formats_without_room(face: Image.Image, tmp_path: Path) -> None:
    save(face, tmp_path / "a.png", None)
    assert inspect(tmp_path / "a.png").metadata is None
    with pytest.raises(ValueError, match="BMP files carry no provenance"):
        save(face, tmp_path / "a.bmp", RECORD)
    with pytest.raises(ValueError, match="no suffix of a picture format"):
        save(face, tmp_path / "a", RECORD)
    assert sorted(f.name for f in tmp_path.iterdir()) == ["a.png"]
    with pytest.raises(ValueError, match="'edited', 'generated'"):
        Provenance("made", "facekit")


def test_files_with_loss_keep_colours_and_mark(face: Image.Image, tmp_path: Path) -> None:
    marked = add_watermark(load_image(face))
    for name in ("a.jpg", "a.webp"):
        save(marked, tmp_path / name, RECORD)
        told = inspect(tmp_path / name)
        assert told.metadata == RECORD and told.watermark.found
        with Image.open(tmp_path / name) as opened:
            assert abs(np.asarray(opened.convert("RGB")).astype(int) - marked.rgb).mean() < 2
    save(marked, tmp_path / "small.jpg", RECORD, quality=50)
    assert (tmp_path / "small.jpg").stat().st_size < (tmp_path / "a.jpg").stat().st_size / 2
    with pytest.raises(ValueError, match=r"JPEG files hold no transparency\. Save it as PNG"):
        save(face.convert("RGBA"), tmp_path / "clear.jpg", RECORD)
    with pytest.raises(ValueError, match="room for 16383 pixels a side"):
        save(Image.new("L", (16_400, 16)), tmp_path / "long.webp", RECORD)
    assert not (tmp_path / "clear.jpg").exists() and not (tmp_path / "long.webp").exists()


def test_packets_of_other_programs() -> None:
    element = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description xmlns:e="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"><e:DigitalSourceType>'
        f"{IPTC}trainedAlgorithmicMedia</e:DigitalSourceType></rdf:Description></rdf:RDF></x:xmpmeta>"
    )
    assert read_packet(element) == Provenance("generated", "unknown")
    assert read_packet(element.replace("trainedAlgorithmicMedia", "digitalCapture")) is None
    entities = '<!DOCTYPE a [<!ENTITY b "c">]>' + element
    long = element.replace("</rdf:RDF>", " " * 1_000_001 + "</rdf:RDF>")
    for nothing in (None, b"", b"\xff\xfe no xml", element[:200], entities, long, "<x:xmpmeta/>"):
        assert read_packet(nothing) is None
    assert read_packet(xmp_packet(RECORD)) == RECORD


def test_models_are_named_without_the_machine(model: Path, tmp_path: Path) -> None:
    from facekit import FaceInpaintPipeline, __version__

    told = describe(FaceInpaintPipeline.from_pretrained(model))
    assert told.software == f"facekit {__version__}" and told.model == "tiny-model"
    assert told.revision.startswith("sha256:") and told == describe(model) == describe(str(model))
    snapshot = tmp_path / "models--org--name" / "snapshots" / ("a1" * 20)
    snapshot.mkdir(parents=True)
    assert (describe(snapshot).model, describe(snapshot).revision) == ("org/name", "a1" * 20)
    assert describe("org/never-downloaded") == Provenance("edited", told.software, "org/never-downloaded")
    assert describe(None).model is None and describe(tiny_inpaint_pipeline()).model is None


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "CMYK", "1"])
def test_only_changed_pixels_of_any_mode_are_marked(face: Image.Image, mode: str) -> None:
    before = load_image(face.convert(mode))
    hole = box_mask((256, 256), (60, 60, 220, 240))
    edited = before.recolor(np.ascontiguousarray(before.rgb[:, ::-1]), hole)
    marked = add_watermark(edited, before)
    assert (marked.mode, marked.size) == (mode, (256, 256))
    np.testing.assert_array_equal(marked.rgb[~hole], before.rgb[~hole])
    assert provenance.detect(marked.rgb).found == (mode != "1")
    assert add_watermark(before, before) is before
    if mode != "1":  # a black and white picture has no room for a mark
        with pytest.raises(ValueError, match="two of one size"):
            add_watermark(before, before.rgb[:100])


def test_pipelines_mark_when_asked(face: Image.Image) -> None:
    hole = box_mask((256, 256), (40, 40, 220, 220))
    pipeline, given = tiny_inpaint_pipeline(), np.asarray(face)

    def filled(**options: bool) -> np.ndarray:
        return np.asarray(pipeline(face, hole, region="image", num_inference_steps=1, **options).images[0])

    # Noise of the untrained network differs from call to call: seed by the default generator.
    import torch

    torch.manual_seed(0)
    plain = filled()
    torch.manual_seed(0)
    marked = filled(watermark=True)
    np.testing.assert_array_equal(marked[~hole], given[~hole])
    assert (marked != plain).any(-1)[hole].mean() > 0.5
    error = np.square(marked.astype(float) - plain).mean()
    assert 10 * np.log10(255**2 / error) > 40
    assert provenance.detect(marked).found and not provenance.detect(plain).found


def test_restored_faces_are_marked_and_the_background_is_not(face: Image.Image) -> None:
    photo = astronaut()
    pipeline = tiny_restore_pipeline(identity=False)
    result = np.asarray(pipeline(photo, watermark=True).images[0])
    plain = np.asarray(pipeline(photo, detector=lambda _: []).images[0])
    np.testing.assert_array_equal(plain, photo)
    changed = (result != photo).any(-1)
    assert 0.02 < changed.mean() < 0.5 and not changed[:, :40].any()

    def double(rgb: np.ndarray) -> np.ndarray:
        return np.repeat(np.repeat(rgb, 2, 0), 2, 1)

    large = np.asarray(pipeline(photo, background=double, watermark=True).images[0])
    around = ~np.repeat(np.repeat(changed, 2, 0), 2, 1)
    assert (large[around] == double(photo)[around]).mean() > 0.99
    assert provenance.detect(large).found


def test_command_line_labels_by_default(
    face: Image.Image, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    face.save(tmp_path / "photo.png")
    mask = box_mask((256, 256), (40, 40, 220, 220))
    Image.fromarray(mask.astype(np.uint8) * 255).save(tmp_path / "mask.png")
    Image.new("L", (256, 256)).save(tmp_path / "empty.png")

    def fill(out: str, *options: str, mask: str = "mask.png") -> Path:
        command = ["inpaint", tmp_path / "photo.png", "--mask", tmp_path / mask, "--output", tmp_path / out]
        options = ("--model", str(model), "--region", "image", "--steps", "1", *options)
        assert main([*map(str, command), *options]) == 0
        return tmp_path / out / "photo.png"

    both, told, none = fill("a"), fill("b", "--provenance", "metadata"), fill("c", "--provenance", "none")
    found = {path: inspect(path) for path in (both, told, none)}
    assert [found[path].watermark.found for path in (both, told, none)] == [True, False, False]
    assert found[both].metadata == found[told].metadata == describe(model) and found[none].metadata is None
    assert found[both].metadata.kind == "edited"
    pixels = {path: np.asarray(Image.open(path)) for path in found}
    np.testing.assert_array_equal(pixels[told], pixels[none])
    for picture in pixels.values():
        np.testing.assert_array_equal(picture[~mask], np.asarray(face)[~mask])
    untouched = fill("d", mask="empty.png")
    assert inspect(untouched).metadata is None and not inspect(untouched).watermark.found

    capsys.readouterr()
    (tmp_path / "broken.png").write_bytes(b"broken")
    files = [str(path) for path in (both, none, tmp_path / "broken.png")]
    assert main(["inspect", *files, "--json", str(tmp_path / "report.json")]) == 1
    printed = capsys.readouterr()
    assert "metadata: edited (compositeWithTrainedAlgorithmicMedia) by facekit" in printed.out
    assert "model tiny-model, revision sha256:" in printed.out and "watermark: found around" in printed.out
    assert "metadata: nothing about a model" in printed.out and "watermark: not found (score" in printed.out
    assert "broken.png is no image" in printed.err and (tmp_path / "report.json").exists()
