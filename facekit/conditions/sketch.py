"""Sketches of faces: strokes that a user drew, and the filters that make them from photos.

Thesis section 5.4.3 names the pencil filter (that of pSp's data script), with which networks are trained. It is written
out in whole numbers, so that sketches are the same on every machine. Sections 5.3.2 and 6.5.1 take Canny's edges.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from facekit.faces import Face, detect_faces
from facekit.faces.squares import FaceSquare, Square, frame_whole
from facekit.images.masks import MaskInput, assign_to_photos, fit, open_mask, read_tones
from facekit.images.photo import MAX_PIXELS, ImageInput, Photo, as_uint8, from_float, load_image, resize
from facekit.notes import Note

# 8-bit weights of red, green and blue in grey, of 32768.
GREY = (9798, 19235, 3735)
STROKE_BELOW = 128  # darker pixels of a sketch are strokes
# Sketches that the pencil filter makes of faces of 256 pixels: between which mean widths of strokes, in pixels, they
# lie, and how wide their widest place is.
PENCIL_MEAN, PENCIL_MOST = (1.25, 3.5), 6
# Of lines drawn anew: the edit starter follows 2 and 3 pixels alike, the exemplar starter 3 better than 2.
LINE_WIDTH = 3
CANNY = (50, 150)  # thresholds of gradients: edges begin above the second and go on above the first
SKETCH_FILTERS = ("pencil", "canny")
COVER = 0.1  # a stroke is kept where it covers this share of a pixel of the network's picture


def read_sketch(
    sketch: MaskInput, size: tuple[int, int], *, name: str = "sketch", max_pixels: int | None = MAX_PIXELS
) -> tuple[np.ndarray, list[Note]]:
    """The strokes of a sketch as bool `[H, W]` of the photo's `size` (width, height), and notes for the user.

    Strokes are bright on black, in any colour, or painted on a transparent layer. A drawing that is mostly white is
    taken as dark lines on paper. Arguments and errors are those of `facekit.images.masks.read_mask`.
    """
    picture = open_mask(sketch, name, max_pixels)
    painted = picture.strokes
    if painted is None:
        strokes, _, notes = read_tones(picture)
    else:
        strokes, notes = painted, []
    if strokes.mean() > 0.5:
        notes = [Note("reading", "{name} is mostly white: its dark lines are the strokes", name=name)]
        # Lines of a pen in any colour are darker than paper, though one of their channels may be as bright.
        strokes = picture.luminance < picture.half if painted is None else ~painted
    strokes, resized = fit(strokes, size, name, picture.label)
    return strokes, notes + resized


def read_sketches(
    sketch: MaskInput | Sequence[MaskInput] | None, photos: Sequence[Photo], max_pixels: int | None
) -> list[tuple[np.ndarray, list[Note]] | None]:
    """Strokes bool `[H, W]` and notes for every photo, from one sketch for all or one for each; None without a sketch.

    Raises:
        ValueError: neither one sketch nor as many as photos, or whatever `read_sketch` refuses.
    """
    given = assign_to_photos(sketch, len(photos), "sketch", "sketches")
    return [
        None if own is None else read_sketch(own, photo.size, name=name, max_pixels=max_pixels)
        for (name, own), photo in zip(given, photos, strict=True)
    ]


def view_strokes(strokes: np.ndarray, square: Square) -> np.ndarray:
    """A photo's strokes bool `[H, W]` as the networks see them in a square: bool `[S, S]`, inside its hole, and drawn
    anew where they are not as wide as those of training (see `even_strokes`)."""
    inside = (square.view(strokes.astype(np.float32)) >= COVER) & square.hole
    return (even_strokes(inside.astype(np.uint8)) > 0) & square.hole


def grey_picture(rgb: np.ndarray) -> np.ndarray:
    """Colours uint8 `[H, W, 3]` -> grey uint8 `[H, W]`; ValueError for other arrays or sides below 2 pixels."""
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or min(rgb.shape[:2]) < 2:
        raise ValueError(
            f"a sketch is made of an 8-bit RGB picture [H, W, 3], not of {rgb.dtype} {list(rgb.shape)}"
        )
    total = rgb.astype(np.int32) @ np.array(GREY, np.int32)
    return ((total + 16384) >> 15).astype(np.uint8)


def smooth(grey: np.ndarray) -> np.ndarray:
    """Blur a grey picture uint8 `[H, W]` with (1 2 1) / 4 along both axes, rounded; borders are reflected."""
    total = _sum_neighbours(_sum_neighbours(grey.astype(np.int32), (1, 2, 1), 0), (1, 2, 1), 1)
    return ((total + 8) >> 4).astype(np.uint8)


def pencil_sketch(rgb: np.ndarray) -> np.ndarray:
    """Make a pencil sketch of a photo: dark strokes on white.

    The Sobel gradients of the smoothed grey picture in x and y, each clipped to 0..255 and joined bit by bit, plus
    the same of the inverted picture; both weigh 0.75.

    Args:
        rgb: uint8 `[H, W, 3]`.

    Returns:
        uint8 `[H, W]`, 255 = no stroke.

    Raises:
        ValueError: another kind of array, or sides below 2 pixels.
    """
    grey = smooth(grey_picture(rgb)).astype(np.int32)
    across = _sum_neighbours(_sum_neighbours(grey, (1, 2, 1), 0), (-1, 0, 1), 1)
    down = _sum_neighbours(_sum_neighbours(grey, (1, 2, 1), 1), (-1, 0, 1), 0)
    rising = np.clip(across, 0, 255) | np.clip(down, 0, 255)
    falling = np.clip(-across, 0, 255) | np.clip(-down, 0, 255)
    # In quarters, as 0.75 is not whole; halves go to the even number.
    edge = np.minimum(np.rint((3 * rising + 3 * falling) / 4), 255)
    return (255 - edge).astype(np.uint8)


def sketch_strokes(sketch: np.ndarray) -> np.ndarray:
    """The strokes of a pencil sketch uint8 `[H, W]`, as networks take them: uint8 `[H, W]`, 1 = stroke."""
    return (sketch < STROKE_BELOW).astype(np.uint8)


def canny_edges(rgb: np.ndarray) -> np.ndarray:
    """Canny's edges of the smoothed grey picture, lines one pixel wide (thesis 5.3.2 and 6.5.1; Canny, A computational
    approach to edge detection, 1986).

    The thesis names no thresholds; with `CANNY` about as much of a face is line as with the pencil filter.

    Args:
        rgb: uint8 `[H, W, 3]`.

    Returns:
        uint8 `[H, W]`, 1 = edge.

    Raises:
        ValueError: another kind of array, or sides below 2 pixels.
    """
    edges = cv2.Canny(smooth(grey_picture(rgb)), *CANNY, L2gradient=True)
    return (edges > 0).astype(np.uint8)


def filter_strokes(rgb: np.ndarray, filter: str = "pencil") -> np.ndarray:
    """The strokes of a face that networks learn from and are shown: uint8 `[H, W, 3]` -> uint8 `[H, W]`, 1 = stroke.

    Args:
        filter: "pencil", or "canny", whose lines are drawn as wide as a pencil's, see `even_strokes`.

    Raises:
        ValueError: another filter, or a picture that `grey_picture` refuses.
    """
    if filter == "pencil":
        return sketch_strokes(pencil_sketch(rgb))
    if filter == "canny":
        return even_strokes(canny_edges(rgb))
    raise ValueError(f"there is no sketch filter {filter!r}; known are {', '.join(SKETCH_FILTERS)}")


def sketch_photo(
    image: ImageInput,
    *,
    filter: str = "pencil",
    lines_of: ImageInput | None = None,
    size: int = 256,
    aligned: bool = False,
    known_faces: Sequence[Face] | None = None,
    max_pixels: int | None = MAX_PIXELS,
) -> np.ndarray:
    """A sketch of a photo's faces, to be passed as `sketch`: that of the photo itself keeps the shapes under a mask.

    The filter sees each face as the networks do, so that it draws the same lines however large the photo is.

    Args:
        image: what `facekit.images.photo.load_image` takes.
        filter: "pencil" or "canny".
        lines_of: another picture whose lines are drawn, at the places of the photo's faces; it is resized to the photo.
        size: side in pixels at which the networks see a face.
        aligned: the photo is one aligned face: no detection.
        known_faces: those of the photo; None looks for them.
        max_pixels: refuse larger pictures before they are decoded; None lifts the limit.

    Returns:
        bool `[H, W]`, True = stroke; empty where the photo shows no face.

    Raises:
        FileNotFoundError, TypeError, ValueError: a picture cannot be used (see `load_image`), or another filter.
    """
    if filter not in SKETCH_FILTERS:
        raise ValueError(f"there is no sketch filter {filter!r}; known are {', '.join(SKETCH_FILTERS)}")
    photo = load_image(image, max_pixels=max_pixels)
    rgb = as_uint8(photo.rgb)
    squares: list[Square] = [frame_whole(rgb, size)]
    if not aligned:
        found = detect_faces(rgb) if known_faces is None else known_faces
        squares = [FaceSquare(rgb, face, size) for face in found]
    if lines_of is not None:
        rgb = resize(as_uint8(load_image(lines_of, max_pixels=max_pixels).rgb), photo.size)
    strokes = np.zeros(rgb.shape[:2], dtype=bool)
    everywhere = np.ones(rgb.shape[:2], dtype=bool)
    for square in squares:
        drawn = filter_strokes(from_float(square.uncover(rgb), np.dtype(np.uint8)), filter)
        cover = np.zeros(rgb.shape[:2], dtype=np.float32)
        square.lay(cover, drawn.astype(np.float32), everywhere)
        # A line of a face that is smaller in the photo covers a part of its pixels only.
        strokes |= cover >= (0.5 if square.side >= size else 0.25)
    return strokes


def thin_strokes(strokes: np.ndarray, size: int, vertical_only: bool = False) -> np.ndarray:
    """Erode strokes uint8 `[H, W]` with a square of `size` pixels; nothing is taken away at the picture's border.

    `vertical_only` erodes along columns alone, as the authors' trainer in effect did. ValueError for a size below 1.
    """
    if size < 1:
        raise ValueError(f"strokes are thinned by a square of at least 1 pixel, got {size}")
    for axis in (0,) if vertical_only else (0, 1):
        reach = (size // 2, size - 1 - size // 2)
        padded = np.pad(strokes, (reach, (0, 0)) if axis == 0 else ((0, 0), reach), constant_values=1)
        strokes = np.lib.stride_tricks.sliding_window_view(padded, size, axis).min(-1)
    return strokes


def even_strokes(strokes: np.ndarray) -> np.ndarray:
    """Strokes uint8 `[H, W]` of any width -> strokes as wide as those from which the networks learned, uint8 `[H, W]`.

    A sketch whose strokes are as wide as the pencil filter's comes back unchanged; so does every sketch of that filter.
    Any other is drawn anew with lines of `LINE_WIDTH` pixels in the middle of its strokes: networks have not seen
    hairlines, and take a broad line for two edges with a strange area between them.
    """
    lines = centre_lines(strokes)
    block = np.ones((PENCIL_MOST + 1,) * 2, np.uint8)
    broad = cv2.erode(strokes, block, borderType=cv2.BORDER_CONSTANT, borderValue=0).any()
    if not broad and PENCIL_MEAN[0] * lines.sum() <= strokes.sum() <= PENCIL_MEAN[1] * lines.sum():
        return strokes
    return cv2.dilate(lines, np.ones((LINE_WIDTH,) * 2, np.uint8))


def centre_lines(strokes: np.ndarray) -> np.ndarray:
    """Strokes uint8 `[H, W]`, 1 = stroke -> lines one pixel wide in their middle, connected as the strokes are.

    Zhang and Suen, A fast parallel algorithm for thinning digital patterns (1984): pixels at the lower right and at the
    upper left edge are taken away in turn, unless a line would break or get shorter.
    """
    lines, changed = strokes.copy(), True
    while changed:
        changed = False
        for removable in _REMOVABLE:
            around = cv2.filter2D(lines, -1, _NEIGHBOURS, borderType=cv2.BORDER_CONSTANT)
            gone = cv2.LUT(around, removable) & lines
            lines ^= gone
            changed |= bool(gone.any())
    return lines


# The eight neighbours of a pixel as one number: a bit for each, clockwise from the one above.
_NEIGHBOURS = np.array([[128, 1, 2], [64, 0, 4], [32, 16, 8]], np.float32)


def _find_removable() -> np.ndarray:
    """Whether a pixel with these neighbours goes, uint8 `[2, 256]`: in the first and in the second turn."""
    table = np.zeros((2, 256), np.uint8)
    for number in range(256):
        near = [number >> place & 1 for place in range(8)]
        rises = sum(a < b for a, b in zip(near, [*near[1:], near[0]], strict=True))
        if not (2 <= sum(near) <= 6 and rises == 1):
            continue
        up, right, down, left = near[::2]
        table[0, number] = not (up and right and down) and not (right and down and left)
        table[1, number] = not (up and right and left) and not (up and down and left)
    return table


_REMOVABLE = _find_removable()


def _sum_neighbours(x: np.ndarray, taps: tuple[int, int, int], axis: int) -> np.ndarray:
    """Each pixel's sum over itself and its two neighbours; borders are reflected without their own pixel."""
    padded = np.pad(x, ((1, 1), (0, 0)) if axis == 0 else ((0, 0), (1, 1)), mode="reflect")
    height, width = x.shape
    total = np.zeros_like(x)
    for i, weight in enumerate(taps):
        if weight:
            total += weight * (padded[i : i + height] if axis == 0 else padded[:, i : i + width])
    return total
