"""The first half of `FaceEditPipeline`: from squares and guidance to codes and features, each made once."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from facekit.conditions.drawings import UNSAID
from facekit.conditions.guidance import encoder_input
from facekit.conditions.semantics import UNLABELLED, parse
from facekit.faces import align_face, detect_faces
from facekit.faces.squares import Box, CropRegion
from facekit.images.photo import MAX_PIXELS, ImageInput, as_uint8, load_images
from facekit.models.refiner import EncodedFeatures
from facekit.pipelines.base import FacekitPipeline
from facekit.pipelines.edit.plan import EditSquare, digest, face_batch, network_input, square_key, weights_key
from facekit.pipelines.inpaint_plan import FaceRegion

CACHE_BYTES = 512 * 2**20
Row = tuple[torch.Tensor, ...]


class EditCache:
    """What the networks made of inputs seen before, the most recent first in value.

    Args:
        limit: bytes of tensors to keep; the oldest go first.
    """

    def __init__(self, limit: int = CACHE_BYTES) -> None:
        self.limit, self.used = limit, 0
        self._rows: OrderedDict[bytes, Row] = OrderedDict()

    def rows(self, keys: Sequence[bytes], compute: Callable[[list[int]], list[Row]], most: int) -> list[Row]:
        """The entry of every key; those that are missing are computed, each once, at most `most` at a time."""
        found = {key: self._rows[key] for key in keys if key in self._rows}
        missing = [place for place, key in enumerate(keys) if key not in found and key not in keys[:place]]
        for start in range(0, len(missing), most):
            part = missing[start : start + most]
            for place, row in zip(part, compute(part), strict=True):
                found[keys[place]] = row
        for key in dict.fromkeys(keys):
            self._keep(key, found[key])
        return [found[key] for key in keys]

    def clear(self) -> None:
        """Forget everything."""
        self._rows.clear()
        self.used = 0

    def forget(self, keys: Sequence[bytes]) -> None:
        """Forget some entries."""
        for key in keys:
            self.used -= _bytes(self._rows.pop(key, ()))

    def _keep(self, key: bytes, row: Row) -> None:
        if key not in self._rows:
            self.used += _bytes(row)
        self._rows[key] = row
        self._rows.move_to_end(key)
        while self.used > self.limit:
            _, old = self._rows.popitem(last=False)
            self.used -= _bytes(old)


def _bytes(row: Row) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in row)


class EditEncoding(FacekitPipeline):
    """Encoding of squares, exemplars and pose references.

    Needs the components `style_encoder`, `aggregation`, `refiner` and (optional) `face_parser`.
    """

    def _projected(
        self, squares: Sequence[EditSquare], strengths: dict[str, float], cache: EditCache, most: int
    ) -> torch.Tensor:
        """w^p = E(X) of masked squares and their guidance, [N, n, D] float32."""

        def compute(places: list[int]) -> list[Row]:
            batch = network_input([squares[i] for i in places], strengths, self._execution_device)
            seen = encoder_input(batch.image, batch.sketch, batch.semantics, batch.color)
            return [(codes,) for codes in self._encode(seen)]

        weights = self._weights_key(self.style_encoder)
        keys = [digest("projected", weights, repr(square_key(square, strengths))) for square in squares]
        return torch.stack([row[0] for row in cache.rows(keys, compute, most)])

    def _face_codes(self, images: Sequence[np.ndarray], cache: EditCache, most: int) -> torch.Tensor:
        """E(face) of whole faces float32 `[S, S, 3]` in [0, 1], [N, n, D] float32."""

        def compute(places: list[int]) -> list[Row]:
            faces = face_batch([images[i] for i in places], self._execution_device)
            return [(codes,) for codes in self._encode(encoder_input(faces))]

        weights = self._weights_key(self.style_encoder)
        keys = [digest("face", weights, image) for image in images]
        return torch.stack([row[0] for row in cache.rows(keys, compute, most)])

    def _weights_key(self, *networks: nn.Module) -> str:
        """What stands for the networks, and the device they compute on, in the key of what they made."""
        return repr([str(self._execution_device), *map(weights_key, networks)])

    def _encode(self, seen: torch.Tensor) -> torch.Tensor:
        return self.style_encoder(seen.to(self.style_encoder.dtype)).float()

    def _encoded(
        self, squares: Sequence[EditSquare], strengths: dict[str, float], cache: EditCache
    ) -> EncodedFeatures:
        """What aggregation and refinement encoder make of squares; one row where all are the same."""

        def compute(places: list[int]) -> list[Row]:
            batch = network_input([squares[i] for i in places], strengths, self._execution_device)
            maps = (batch.image, batch.mask, batch.sketch, batch.semantics, batch.color)
            dtype = self.aggregation.dtype
            features = self.aggregation(*(None if m is None else m.to(dtype) for m in maps))
            encoded = self.refiner(features.to(self.refiner.dtype), None, None, encode_only=True)
            if len(places) == 1:
                return [(encoded.global_code, encoded.bottom, *encoded.skips)]
            return [
                # Clones: a view would keep the whole batch.
                tuple(
                    tensor[i : i + 1].clone()
                    for tensor in (encoded.global_code, encoded.bottom, *encoded.skips)
                )
                for i in range(len(places))
            ]

        weights = self._weights_key(self.aggregation, self.refiner)
        keys = [digest("encoded", weights, repr(square_key(square, strengths))) for square in squares]
        rows = cache.rows(keys, compute, len(squares))
        if len(set(keys)) == 1:
            rows = rows[:1]
        global_code, bottom, *skips = (torch.cat(tensors) for tensors in zip(*rows, strict=True))
        return EncodedFeatures(global_code, bottom, skips)

    @torch.no_grad()
    def semantic_maps(
        self,
        image: ImageInput | Sequence[ImageInput],
        aligned: bool = False,
        faces: str | Sequence[int] = "all",
        detector: Any = None,
        max_pixels: int | None = MAX_PIXELS,
    ) -> list[np.ndarray]:
        """The face parser's map of every photo, to be repainted and passed as `semantics`.

        Returns:
            Labels uint8 `[H, W]` for each photo in the order of `CLASS_NAMES`; 255 (unsaid) outside the faces.

        Raises:
            ValueError: the model has no face parser, or a photo is refused.
        """
        if self.face_parser is None:
            raise ValueError(
                "this model has no face parser. Load one that has, or pass face_parser= to from_pretrained."
            )
        size, maps = self.refiner.config.sample_size, []
        options = {} if detector is None else {"detector": detector}
        photos = load_images(image, max_pixels=max_pixels)
        for photo in photos:
            width, height = photo.size
            found = [] if aligned else detect_faces(as_uint8(photo.rgb), faces=faces, **options)
            cuts = [
                FaceRegion(align_face(photo.rgb, face, size), np.ones((height, width), bool))
                for face in found
            ]
            if aligned:
                nothing = np.zeros((height, width), dtype=bool)
                box = Box(0, 0, width, height)
                cuts = [CropRegion(photo.rgb, nothing, ~nothing, box, box.side, size)]
            labels = np.full((height, width), UNSAID, dtype=np.uint8)
            for cut in cuts:
                batch = face_batch([cut.image], self._execution_device)
                parsed = torch.as_tensor(parse(self.face_parser, batch))[0].cpu().numpy()
                _lay_labels(labels, np.where(parsed == UNLABELLED, UNSAID, parsed).astype(np.uint8), cut)
            maps.append(labels)
        self.maybe_free_model_hooks()
        return maps


def _lay_labels(labels: np.ndarray, parsed: np.ndarray, cut: CropRegion | FaceRegion) -> None:
    """Write a map `[S, S]` over the photo's `[H, W]` where nothing is said yet."""
    everywhere = np.ones(labels.shape, dtype=bool)
    best, total = np.zeros(labels.shape, dtype=np.float32), np.zeros(labels.shape, dtype=np.float32)
    found = np.zeros(labels.shape, dtype=np.uint8)
    for label in np.unique(parsed):
        cover = np.zeros(labels.shape, dtype=np.float32)
        values = (parsed == label).astype(np.float32)
        if isinstance(cut, FaceRegion):
            cut.lay(cover, values, everywhere)
        else:
            cut.lay(cover, values)
        found[cover > best] = label
        best, total = np.maximum(best, cover), total + cover
    free = (labels == UNSAID) & (total >= 0.5)
    labels[free] = found[free]
