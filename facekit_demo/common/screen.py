"""Pictures on their way to the screen: never larger than it needs, in files that are made and sent quickly.

The photo itself is never changed by this: what is saved for download is made from it when it is asked for.
"""

import io
from collections.abc import Sequence

from gradio.processing_utils import save_bytes_to_cache
from PIL import Image

from facekit_demo.common.running import PREVIEW_SIDE
from facekit_demo.common.temporary import own_folder

QUALITY = 90  # of JPEGs, with colours at full resolution: their artefacts are not to be taken for the model's


def screen_file(picture: Image.Image) -> str:
    """A picture as a file that the page may show: a JPEG, or a PNG where it has transparent parts.

    Its longer side is at most `PREVIEW_SIDE` pixels.
    """
    if max(picture.size) > PREVIEW_SIDE:
        picture = picture.copy()
        picture.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE), Image.Resampling.LANCZOS, reducing_gap=3.0)
    transparent = picture.mode == "RGBA" and picture.getextrema()[3][0] < 255
    code = io.BytesIO()
    if transparent:
        picture.save(code, "PNG", compress_level=1)
    else:
        picture.convert("RGB").save(code, "JPEG", quality=QUALITY, subsampling=0)
    return save_bytes_to_cache(
        code.getvalue(), "shown.png" if transparent else "shown.jpg", str(own_folder())
    )


def screen_files(pictures: Sequence[tuple[Image.Image, str]]) -> list[tuple[str, str]]:
    """Pictures with captions, as a gallery takes them."""
    return [(screen_file(picture), caption) for picture, caption in pictures]
