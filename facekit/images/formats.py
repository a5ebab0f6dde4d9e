"""The file formats that results are written in, and what each of them can hold of a photo."""

from dataclasses import dataclass

from facekit.notes import Note


@dataclass(frozen=True)
class FileFormat:
    """A format.

    Attributes:
        name: Pillow's.
        suffix: of files.
        modes: those of Pillow's that it holds as they are.
        longest: pixels that a side may have.
        deep: it holds 16 bits a channel.
        lossy: it changes numbers, and has a quality.
    """

    name: str
    suffix: str
    modes: tuple[str, ...]
    longest: int
    deep: bool = False
    lossy: bool = False

    @property
    def transparent(self) -> bool:
        """Whether it holds transparency."""
        return "RGBA" in self.modes


# TIFF has palettes too, but no transparency in them.
FORMATS = {
    "png": FileFormat("PNG", ".png", ("1", "L", "LA", "P", "RGB", "RGBA", "I", "I;16"), 2**31 - 1, deep=True),
    "jpeg": FileFormat("JPEG", ".jpg", ("L", "RGB", "CMYK"), 65_500, lossy=True),
    "webp": FileFormat("WEBP", ".webp", ("RGB", "RGBA"), 16_383, lossy=True),
    "tiff": FileFormat(
        "TIFF", ".tif", ("1", "L", "LA", "RGB", "RGBA", "CMYK", "I", "I;16"), 2**31 - 1, deep=True
    ),
}
BY_NAME = {kind.name: kind for kind in FORMATS.values()}
BY_SUFFIX = {kind.suffix: kind for kind in FORMATS.values()}
BY_SUFFIX |= {".jpeg": FORMATS["jpeg"], ".tiff": FORMATS["tiff"]}
# Photos of phones, compressed with loss, and no result can be written as one.
_OF_PHONES = ("HEIF", "AVIF")
QUALITY = 95  # of lossy formats: damage that is seen beside the photo at 400% alone
FULL_COLOR = 90  # at this quality and above a JPEG keeps the colour of every pixel (4:4:4)


def lossless_format(mode: str) -> FileFormat:
    """PNG, which keeps every mode that files have but CMYK, or TIFF."""
    return FORMATS["tiff" if mode == "CMYK" else "png"]


def same_format(name: str | None, mode: str, see_through: bool) -> tuple[FileFormat, list[Note]]:
    """The format for the result of a photo that Pillow calls `name`, with a note where it is another one.

    A photo of a phone (HEIC, AVIF) becomes a JPEG, or a PNG where parts of it are see-through; anything else that is
    not written here becomes what keeps all of it.
    """
    name = "JPEG" if name == "MPO" else name
    if name in BY_NAME:
        return BY_NAME[name], []
    kind = FORMATS["jpeg"] if name in _OF_PHONES and not see_through else lossless_format(mode)
    if name is None:
        return kind, []
    return kind, [
        Note("format-changed", "{old} cannot be written: the result is {new}", old=name, new=kind.name)
    ]


def name_losses(kind: FileFormat, mode: str, see_through: bool, deep: bool) -> list[Note]:
    """What a format does not hold of a photo.

    Args:
        kind: the format.
        mode: Pillow's name of the photo's.
        see_through: it has an opacity, or a colour that is see-through.
        deep: it has more than 8 bits a channel.
    """
    notes = []
    if deep and not kind.deep:
        what = "{format} has 8 bits a channel, and the photo more"
        notes.append(Note("depth-reduced", what, "PNG and TIFF keep all", format=kind.name))
    if see_through and not kind.transparent:
        what = "{format} holds no transparency: what is see-through is laid over white"
        notes.append(Note("transparency-lost", what, "PNG, WebP and TIFF keep it", format=kind.name))
    if mode == "CMYK" and mode not in kind.modes:
        what = "{format} holds no CMYK: the colours become RGB, without their profile"
        notes.append(Note("colours-converted", what, "JPEG and TIFF keep it", format=kind.name))
    return notes


def why_too_large(kind: FileFormat, width: int, height: int) -> str | None:
    """Why a picture of this size has no room in a format; None where it has."""
    if max(width, height) <= kind.longest:
        return None
    return (
        f"its result would be {width}x{height}, and {kind.name} has room for {kind.longest} pixels a side; "
        "choose PNG or TIFF"
    )


def encoding(kind: FileFormat, quality: int | None = None) -> dict[str, int]:
    """Options of `Image.save` for a quality of 1 to 100 (None is `QUALITY`); lossless formats have none."""
    if not kind.lossy:
        return {}
    quality = QUALITY if quality is None else quality
    options = {"quality": quality}
    return options | ({"subsampling": 0 if quality >= FULL_COLOR else 2} if kind.name == "JPEG" else {})
