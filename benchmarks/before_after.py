"""Draw what the page, README and `docs/using.md` show of the bundled models, anew after these have changed.

    python benchmarks/before_after.py

- `facekit_demo/examples/TASK-before-after.jpg`, in the demo's empty result boxes: what comes of a tab's first example
  with the tab's settings as they come, left before, right after;
- `facekit_demo/examples/people/`, the page's first example faces;
- `docs/images/`: what the lines of README and `docs/using.md` give.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from skimage import data

import facekit
from facekit.conditions.semantics import CLASS_NAMES
from facekit.pipelines.base import FacekitPipeline
from facekit.pipelines.downstream import draw_points
from facekit_demo.common.gallery import inpaint_examples, mend_examples, restore_examples
from facekit_demo.common.running import EXAMPLES

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
SIDE, GAP = 300, 4
README_SIDE, README_GAP = 320, 8
SMALL_SIDE = 160
README_CROP = (111, 22, 326, 237)  # the astronaut's head
HEAD = (44, 16, 564, 536)  # of the portraits; the old print is shown whole
QUALITY = 90
# The example faces: seed -> places among the twelve faces of it, chosen by eye. After new weights look at them again.
PEOPLE = {100: (3, 5, 10), 101: (6,), 102: (0, 2, 5, 6), 103: (0, 4, 8, 9)}


def in_a_row(pictures: Sequence[Image.Image], side: int, gap: int) -> Image.Image:
    """The upper squares of pictures, next to each other on white."""
    sheet = Image.new("RGB", (len(pictures) * (side + gap) - gap, side), "white")
    for place, picture in enumerate(pictures):
        square = picture.convert("RGB").crop((0, 0, picture.width, picture.width))
        sheet.paste(square.resize((side, side), Image.Resampling.LANCZOS), (place * (side + gap), 0))
    return sheet


class Painter:
    """Draws by the bundled models, with seed 0 but for sampled faces."""

    def __init__(self) -> None:
        self.restore = facekit.FaceRestorePipeline.from_pretrained(facekit.starter("face-restore"))
        self.inpaint = facekit.FaceInpaintPipeline.from_pretrained(facekit.starter("face-inpaint"))
        finder = facekit.PhotoMendPipeline.from_pretrained(facekit.starter("photo-mend")).damage_finder
        self.mend = facekit.PhotoMendPipeline(finder, self.inpaint, self.restore)

    def run(self, pipeline: FacekitPipeline, *given: Image.Image, **options: object) -> Image.Image:
        return pipeline(*given, generator=torch.Generator().manual_seed(0), **options).images[0]

    def draw_result_boxes(self) -> None:
        """What stands in the demo's empty result boxes."""
        damaged = Image.open(restore_examples()[0])
        scratched = inpaint_examples()[0]
        photo, mask = Image.open(scratched.photo), Image.open(scratched.mask)
        worn = Image.open(mend_examples()[0].photo)
        filled = self.run(self.inpaint, photo, mask, restore_with=self.restore)
        for task, before, after in (
            ("restore", damaged.crop(HEAD), self.run(self.restore, damaged).crop(HEAD)),
            ("inpaint", photo.crop(HEAD), filled.crop(HEAD)),
            ("mend", worn, self.run(self.mend, worn)),
        ):
            picture = in_a_row((before, after), SIDE, GAP)
            picture.save(EXAMPLES / f"{task}-before-after.jpg", quality=QUALITY)

    def draw_people(self) -> None:
        """The page's example faces."""
        chosen = []
        for seed, places in PEOPLE.items():
            drawn = torch.Generator().manual_seed(seed)
            faces = facekit.sample_faces(12, truncation_psi=0.85, generator=drawn)
            chosen += [faces[place] for place in places]
        for number, face in enumerate(chosen, 1):
            face.save(EXAMPLES / "people" / f"{number:02d}.jpg", quality=QUALITY)

    def draw_documents(self) -> None:
        """The pictures of README and `docs/using.md`, in their order."""
        photo = Image.fromarray(data.astronaut())

        def save(name: str, *pictures: Image.Image, side: int = README_SIDE) -> None:
            in_a_row(pictures, side, README_GAP).save(IMAGES / f"{name}.jpg", quality=QUALITY)

        damaged = Image.fromarray(facekit.degrade(data.astronaut(), rng=0, severity=0.2))
        found = facekit.restored_landmarks(
            damaged, pipeline=self.restore, generator=torch.Generator().manual_seed(0)
        )
        save("restored", damaged.crop(README_CROP), found.image.crop(README_CROP))
        pointed = [
            draw_points(picture, points).crop(README_CROP)
            for picture, points in ((damaged, found.before), (found.image, found.after))
        ]
        save("points", *pointed)

        scratch, eyes = Image.new("L", photo.size), Image.new("L", photo.size)
        ImageDraw.Draw(scratch).line((180, 60, 260, 140), fill=255, width=7)
        ImageDraw.Draw(eyes).rounded_rectangle((174, 84, 276, 125), radius=14, fill=255)
        holed = [photo.copy(), photo.copy()]
        for picture, mask in zip(holed, (scratch, eyes), strict=True):
            picture.paste((255, 255, 255), mask=mask)
        filled = self.run(self.inpaint, photo, scratch, restore_with=self.restore)
        save("filled", holed[0].crop(README_CROP), filled.crop(README_CROP))

        people = facekit.sample_faces(6, truncation_psi=0.7, generator=torch.Generator().manual_seed(1))
        save("people", *people, side=SMALL_SIDE)
        exemplar = facekit.ExemplarInpaintPipeline.from_pretrained(facekit.starter("exemplar-inpaint"))
        after = self.run(exemplar, photo, eyes, people[3], restore_with=self.restore)
        save("exemplar", holed[1].crop(README_CROP), people[3], after.crop(README_CROP))

        edit = facekit.FaceEditPipeline.from_pretrained(facekit.starter("face-edit"))
        hair = Image.fromarray(np.uint8(255 * (edit.semantic_maps(photo)[0] == CLASS_NAMES.index("hair"))))
        session = edit.edit_session(photo)
        auburn = Image.new("RGB", photo.size, (110, 58, 32))
        edited = session.edit(hair, color=auburn, keep_detail=True, seed=0).images[0]
        save("edited", photo.crop(README_CROP), edited.crop(README_CROP))


def main() -> None:
    painter = Painter()
    painter.draw_result_boxes()
    painter.draw_people()
    painter.draw_documents()


if __name__ == "__main__":
    main()
