"""EXIF blocks on their way through an edit: what shows the old picture goes, what tells its size follows."""

import warnings

from PIL import Image
from PIL.ExifTags import IFD

MAKER_NOTE = 0x927C  # the maker's own block; many cameras keep a preview of the whole picture in it
PIXEL_SIZE = (0xA002, 0xA003)  # width and height of the picture, in the Exif directory
DIRECTORIES = (IFD.Exif, IFD.GPSInfo)  # those that are kept beside the main one; IFD1 is the thumbnail's


def without_previews(data: bytes) -> bytes | None:
    """An EXIF block without thumbnail and maker's note; None where it cannot be read, or nothing is left.

    A face that was painted over would go on being seen in them.
    """
    old, new = Image.Exif(), Image.Exif()
    try:
        with warnings.catch_warnings(action="ignore"):
            old.load(data)
            new.update({tag: value for tag, value in old.items() if tag not in DIRECTORIES})
            for place in DIRECTORIES:
                kept = {tag: value for tag, value in old.get_ifd(place).items() if tag != MAKER_NOTE}
                if kept:
                    new[place] = kept
            return new.tobytes() if len(new) else None
    except Exception:  # Pillow raises what the damage leads it to: struct.error, SyntaxError, KeyError, ...
        return None


def with_size(data: bytes, width: int, height: int) -> bytes:
    """An EXIF block that `without_previews` gave, for a picture of another size: the block's own follows."""
    exif = Image.Exif()
    exif.load(data)
    details = exif.get_ifd(IFD.Exif)
    known = {tag: side for tag, side in zip(PIXEL_SIZE, (width, height), strict=True) if tag in details}
    if all(details[tag] == side for tag, side in known.items()):
        return data
    details.update(known)
    return exif.tobytes()
