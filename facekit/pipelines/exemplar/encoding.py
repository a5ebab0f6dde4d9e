"""The first half of `ExemplarInpaintPipeline`: from pictures to codes and features, each made once."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from facekit.images.masks import MaskInput, load_masks
from facekit.images.photo import MAX_PIXELS, ImageInput, load_images
from facekit.models.multi_style import EncodedFace
from facekit.pipelines.base import FacekitPipeline
from facekit.pipelines.exemplar.occlusion import OCCLUSIONS, Occlusion
from facekit.pipelines.exemplar.outputs import EncodedPhotos, ExemplarCodes
from facekit.pipelines.exemplar.plan import load_sketches, plan_exemplar, plan_photo, propose_mask
from facekit.pipelines.samples import in_parts, region_batch

Images = ImageInput | Sequence[ImageInput]
Masks = MaskInput | Sequence[MaskInput]


class ExemplarEncoding(FacekitPipeline):
    """Planning and encoding of photos and exemplars.

    Needs the components `style_encoder`, `multi_style_generator` and (optional) `identity_encoder`.
    """

    @property
    def code_range(self) -> tuple[int, int]:
        """(first, n): codes of index first to n - 1 can come from an exemplar."""
        return self.style_encoder.config.first_style, self.multi_style_generator.num_styles

    def propose_masks(
        self,
        image: Images,
        recover: Occlusion,
        aligned: bool = False,
        faces: str | Sequence[int] = "all",
        detector: Any = None,
        max_pixels: int | None = MAX_PIXELS,
    ) -> list[np.ndarray]:
        """Where glasses ("glasses") or a face mask ("lower_face") sit, bool `[H, W]` for each photo.

        The masks follow from five landmarks, for the user to look at and correct. ValueError for another kind, or
        a photo without a face.
        """
        photos = load_images(image, max_pixels=max_pixels)
        return [propose_mask(photo, recover, aligned, faces, detector)[0] for photo in photos]

    @torch.inference_mode()
    def encode_exemplar(
        self,
        exemplar: Images,
        aligned: bool = False,
        face: str | int = "only",
        detector: Any = None,
        max_batch_size: int = 8,
        max_pixels: int | None = MAX_PIXELS,
    ) -> ExemplarCodes:
        """Find and encode exemplars once, for many calls; arguments and errors as in the call."""
        self.check_counts(max_batch_size=max_batch_size)
        planned = self._plan_exemplars(exemplar, aligned, face, detector, max_pixels, "exemplar")
        self._encode_exemplars(planned, max_batch_size)
        self.maybe_free_model_hooks()
        return planned

    @torch.inference_mode()
    def encode_photo(
        self,
        image: Images,
        mask: Masks | None = None,
        recover: Occlusion | None = None,
        sketch: Masks | None = None,
        aligned: bool = False,
        faces: str | Sequence[int] = "all",
        detector: Any = None,
        max_batch_size: int = 8,
        max_pixels: int | None = MAX_PIXELS,
    ) -> EncodedPhotos:
        """Find the holes' faces and encode them once, for many calls; arguments and errors as in the call."""
        self.check_counts(max_batch_size=max_batch_size)
        planned = self._plan_photos(image, mask, recover, sketch, aligned, faces, detector, max_pixels)
        self._encode_photos(planned, max_batch_size)
        self.maybe_free_model_hooks()
        return planned

    def _plan_photos(
        self,
        image: Images,
        mask: Masks | None,
        recover: Occlusion | None,
        sketch: Masks | None,
        aligned: bool,
        faces: str | Sequence[int],
        detector: Any,
        max_pixels: int | None,
    ) -> EncodedPhotos:
        config = self.multi_style_generator.config
        if mask is None and recover is None:
            raise ValueError(
                f"mask is missing. Pass one, or recover={' or recover='.join(map(repr, OCCLUSIONS))}."
            )
        if sketch is not None and not config.use_sketch:
            raise ValueError(
                "this model takes no sketch. Load one that was trained with sketches, or leave it out."
            )
        photos = load_images(image, max_pixels=max_pixels)
        masks = [None] * len(photos) if mask is None else load_masks(mask, photos, max_pixels=max_pixels)
        sketches = load_sketches(sketch, photos, max_pixels)
        jobs = [
            plan_photo(
                photo,
                hole,
                strokes,
                sample_size=config.sample_size,
                aligned=aligned,
                faces=faces,
                detector=detector,
                recover=recover,
            )
            for photo, hole, strokes in zip(photos, masks, sketches, strict=True)
        ]
        return EncodedPhotos(jobs)

    def _plan_exemplars(
        self,
        exemplar: Images | ExemplarCodes,
        aligned: bool,
        face: str | int,
        detector: Any,
        max_pixels: int | None,
        name: str,
    ) -> ExemplarCodes:
        first, count = self.code_range
        if isinstance(exemplar, ExemplarCodes):
            expected = [len(exemplar), count - first, self.style_encoder.config.style_dim]
            if exemplar.codes is None or list(exemplar.codes.shape) != expected:
                raise ValueError(
                    f"{name} was not encoded by this pipeline; codes of the shape {expected} are needed."
                )
            return exemplar
        if face not in ("only", "largest") and (isinstance(face, bool) or not isinstance(face, int)):
            raise ValueError(
                f"exemplar_face is {face!r}; say 'only', 'largest' or an index from left to right."
            )
        size = self.multi_style_generator.config.sample_size
        photos = load_images(exemplar, max_pixels=max_pixels, name=name)
        return ExemplarCodes([plan_exemplar(photo, size, aligned, face, detector) for photo in photos])

    def _encode_exemplars(self, exemplars: ExemplarCodes, max_batch_size: int) -> None:
        if exemplars.codes is not None:
            return
        pictures, dtype = self._exemplar_batch(exemplars), self.style_encoder.dtype

        def encode(part: slice) -> torch.Tensor:
            return self.style_encoder(pictures[part].to(dtype), styles=self.code_range).float()

        exemplars.codes = in_parts(encode, len(exemplars), max_batch_size)

    def _exemplar_batch(self, exemplars: ExemplarCodes) -> torch.Tensor:
        pictures = np.stack([face.image for face in exemplars.faces]).transpose(0, 3, 1, 2)
        return torch.from_numpy(pictures * np.float32(2) - np.float32(1)).to(self._execution_device)

    def _encode_photos(self, photos: EncodedPhotos, max_batch_size: int) -> None:
        regions = [region for job in photos.jobs for region in job.job.regions]
        if photos.encoded is not None or not regions:
            return
        photos.known, photos.holes = region_batch(regions, self._execution_device)
        sketches = None
        if self.multi_style_generator.config.use_sketch:
            drawn = [
                sketch
                for job in photos.jobs
                for sketch in job.sketches
                or [np.zeros(region.hole.shape, bool) for region in job.job.regions]
            ]
            sketches = torch.from_numpy(np.stack(drawn)[:, None].astype(np.float32)).to(photos.holes)
        dtype, parts = self.multi_style_generator.dtype, []
        for start in range(0, len(regions), max_batch_size):
            part = slice(start, start + max_batch_size)
            _, encoded, _ = self.multi_style_generator(
                photos.known[part].to(dtype),
                photos.holes[part].to(dtype),
                sketch=None if sketches is None else sketches[part].to(dtype),
                encode_only=True,
                return_dict=False,
            )
            parts.append(encoded)
        photos.encoded = EncodedFace.join(parts)

    def _similarities(
        self, result: torch.Tensor, exemplars: ExemplarCodes, guides: list[int], max_batch_size: int
    ) -> list[float]:
        pictures, dtype = self._exemplar_batch(exemplars)[guides], self.identity_encoder.dtype

        def compare(part: slice) -> torch.Tensor:
            return self.identity_encoder.similarity(result[part].to(dtype), pictures[part].to(dtype))

        return in_parts(compare, len(result), max_batch_size).tolist()
