"""EXIF blocks through an edit: previews of the old picture are removed, its size is brought up to date."""

import warnings

from PIL import Image
from PIL.ExifTags import IFD, Base

from facekit.images.previews import holds_picture

MAKER_NOTE = 0x927C  # the maker's own block; many cameras keep a preview of the whole picture in it
PIXEL_SIZE = (0xA002, 0xA003)  # width and height of the picture, in the Exif directory
_OVERHEAD = 100  # bytes, more than what a block grows by for a comment beside its words
DIRECTORIES = (IFD.Exif, IFD.GPSInfo)  # those that are kept beside the main one; IFD1 is the thumbnail's
# Of the main directory what speaks of the picture. All else tells how a file stores it, or holds it once more: layers
# (37724), previews in sub-directories (330), Photoshop's resources (34377).
DESCRIBING = frozenset(
    (
        Base.ProcessingSoftware,
        Base.DocumentName,
        Base.ImageDescription,
        Base.Make,
        Base.Model,
        Base.PageName,
        Base.XResolution,
        Base.YResolution,
        Base.ResolutionUnit,
        Base.Software,
        Base.DateTime,
        Base.Artist,
        Base.HostComputer,
        Base.Rating,
        Base.RatingPercent,
        Base.Copyright,
        Base.XPTitle,
        Base.XPComment,
        Base.XPAuthor,
        Base.XPKeywords,
        Base.XPSubject,
        Base.TimeZoneOffset,
        Base.ImageNumber,
        Base.ImageHistory,
        Base.SecurityClassification,
    )
)


def without_previews(block: bytes | Image.Exif) -> bytes | None:
    """Copy an EXIF block without thumbnail and maker's note, in which a face that was painted over would still show.

    Returns:
        The block, empty where nothing is left of it; None where it cannot be read.
    """
    new = Image.Exif()
    try:
        with warnings.catch_warnings(action="ignore"):
            old = block if isinstance(block, Image.Exif) else load_exif(block)
            new.update(_bare({tag: old[tag] for tag in DESCRIBING if tag in old}))
            for place in DIRECTORIES:
                kept = _bare(old.get_ifd(place))
                if kept:
                    new[place] = kept
            return new.tobytes() if len(new) else b""
    except Exception:  # Pillow raises what the damage leads it to: struct.error, SyntaxError, KeyError, ...
        return None


def with_size(data: bytes, width: int, height: int) -> bytes:
    """Set the width and height that an EXIF block from `without_previews` tells, if it tells them, in pixels."""
    exif = load_exif(data)
    details = exif.get_ifd(IFD.Exif)
    known = {tag: side for tag, side in zip(PIXEL_SIZE, (width, height), strict=True) if tag in details}
    if all(details[tag] == side for tag, side in known.items()):
        return data
    details.update(known)
    return exif.tobytes()


def with_comment(data: bytes | None, comment: str, room: int | None = None) -> bytes:
    """Put a comment into an EXIF block, as UserComment, unless it has one already.

    Args:
        data: the block; None makes a new one.
        comment: cut so that the block has at most `room` bytes; left out where that leaves nothing of it.
        room: bytes; None is no limit.
    """
    exif = load_exif(data or b"")
    details = exif.get_ifd(IFD.Exif)
    if Base.UserComment in details:
        return exif.tobytes()
    words = comment.encode("utf-16-le")
    if room is not None:
        spare = max(0, room - len(exif.tobytes()) - _OVERHEAD)
        words = words[: spare // 2 * 2].decode("utf-16-le", "ignore").encode("utf-16-le")
    if words:
        details[Base.UserComment] = b"UNICODE\0" + words
        exif[IFD.Exif] = details
    return exif.tobytes()


def is_readable(data: bytes) -> bool:
    """Whether a block can be loaded and written again."""
    try:
        load_exif(data).tobytes()
    except Exception:  # Pillow raises what the damage leads it to
        return False
    return True


def load_exif(data: bytes) -> Image.Exif:
    """Read a block's tags; an empty block has none."""
    exif = Image.Exif()
    if data:
        exif.load(data)
    return exif


def _bare(tags: dict) -> dict:
    return {tag: value for tag, value in tags.items() if tag != MAKER_NOTE and not holds_picture(value)}
