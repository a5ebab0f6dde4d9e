"""A photo with people <-> aligned faces."""

from .align import AlignedFace, align_face, ffhq_quad
from .detect import Detector, Face, detect_faces
from .paste import paste_faces

__all__ = ["AlignedFace", "Detector", "Face", "align_face", "detect_faces", "ffhq_quad", "paste_faces"]
