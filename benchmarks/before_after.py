"""Draw the pictures of the demo's empty result boxes, and README's filled one, anew after the weights have changed.

    python benchmarks/before_after.py

Each is what comes of a tab's first example with the bundled models and the tab's settings as they come, left before,
right after: `facekit_demo/examples/TASK-before-after.jpg`, and `docs/images/filled.jpg` of README's own lines.
"""

from pathlib import Path

import torch
from PIL import Image, ImageDraw
from skimage import data

import facekit
from facekit_demo.common.gallery import inpaint_examples, mend_examples, restore_examples
from facekit_demo.common.running import EXAMPLES

ROOT = Path(__file__).resolve().parents[1]
SIDE, GAP = 300, 4
README_SIDE, README_GAP = 320, 8
README_CROP = (111, 22, 326, 237)  # the astronaut's head
HEAD = (44, 16, 564, 536)  # of the portraits; the old print is shown whole
QUALITY = 90


def beside(before: Image.Image, after: Image.Image, side: int, gap: int) -> Image.Image:
    """Both pictures, cut to their upper squares, next to each other on white."""
    sheet = Image.new("RGB", (2 * side + gap, side), "white")
    for left, picture in ((0, before), (side + gap, after)):
        square = picture.convert("RGB").crop((0, 0, picture.width, picture.width))
        sheet.paste(square.resize((side, side), Image.Resampling.LANCZOS), (left, 0))
    return sheet


def main() -> None:
    inpaint = facekit.FaceInpaintPipeline.from_pretrained(facekit.starter("face-inpaint"))
    restore = facekit.FaceRestorePipeline.from_pretrained(facekit.starter("face-restore"))
    mend = facekit.PhotoMendPipeline(
        facekit.PhotoMendPipeline.from_pretrained(facekit.starter("photo-mend")).damage_finder,
        inpaint,
        restore,
    )
    generator = torch.Generator()

    damaged = Image.open(restore_examples()[0])
    restored = restore(damaged, generator=generator.manual_seed(0)).images[0]
    scratched = inpaint_examples()[0]
    photo, mask = Image.open(scratched.photo), Image.open(scratched.mask)
    filled = inpaint(photo, mask, restore_with=restore, generator=generator.manual_seed(0)).images[0]
    worn = Image.open(mend_examples()[0].photo)
    mended = mend(worn, generator=generator.manual_seed(0)).images[0]
    for task, before, after in (
        ("restore", damaged.crop(HEAD), restored.crop(HEAD)),
        ("inpaint", photo.crop(HEAD), filled.crop(HEAD)),
        ("mend", worn, mended),
    ):
        picture = beside(before, after, SIDE, GAP)
        picture.save(EXAMPLES / f"{task}-before-after.jpg", quality=QUALITY)

    photo = Image.fromarray(data.astronaut())
    mask = Image.new("L", photo.size)
    ImageDraw.Draw(mask).line((180, 60, 260, 140), fill=255, width=7)
    filled = inpaint(photo, mask, restore_with=restore, generator=generator.manual_seed(0)).images[0]
    photo.paste((255, 255, 255), mask=mask)
    before, after = photo.crop(README_CROP), filled.crop(README_CROP)
    beside(before, after, README_SIDE, README_GAP).save(
        ROOT / "docs" / "images" / "filled.jpg", quality=QUALITY
    )


if __name__ == "__main__":
    main()
