"""A photo with people <-> aligned faces."""

from .align import AlignedFace, align_face, ffhq_quad
from .detect import Face, detect_faces
from .paste import paste_faces

__all__ = ["AlignedFace", "Face", "align_face", "detect_faces", "ffhq_quad", "paste_faces"]
