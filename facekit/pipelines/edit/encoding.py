"""From squares, guidance and faces to codes and features, each computed once (thesis 6.2.1, 6.2.4)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from facekit.conditions.guidance import encoder_input
from facekit.images.tensors import to_batch
from facekit.models.layers.unet import EncodedFace
from facekit.models.multimodal import MultimodalAggregation
from facekit.models.refiner import RefinementAutoEncoder
from facekit.models.style_encoder import StyleEncoder
from facekit.pipelines.edit.cache import EditCache, Row, digest, key_of_weights
from facekit.pipelines.edit.plan import EditSquare, make_network_input


@dataclass(frozen=True)
class Encoder:
    """The networks of the pipeline that encode, on the device where they compute.

    Attributes:
        style_encoder: masked photo and drawings, or a face -> codes.
        aggregation: masked photo and drawings -> one feature map.
        refiner: its encoder reads that map.
        device: of the networks.
        cache: what they made before.
    """

    style_encoder: StyleEncoder
    aggregation: MultimodalAggregation
    refiner: RefinementAutoEncoder
    device: torch.device
    cache: EditCache

    def encode_squares(
        self, squares: Sequence[EditSquare], strengths: dict[str, float], most: int
    ) -> torch.Tensor:
        """w^p = E(X) of masked squares and their guidance, [N, n, D] float32; at most `most` are computed at a time."""

        def compute(places: list[int]) -> list[Row]:
            batch = make_network_input([squares[i] for i in places], strengths, self.device)
            seen = encoder_input(batch.image, batch.sketch, batch.semantics, batch.color)
            return [(codes,) for codes in self._encode(seen)]

        weights = self.key_of(self.style_encoder)
        keys = [
            digest("projected", weights, repr(self.key_of_square(square, strengths))) for square in squares
        ]
        return torch.stack([row[0] for row in self.cache.fetch(keys, compute, most)])

    def encode_faces(self, images: Sequence[np.ndarray], most: int) -> torch.Tensor:
        """E(face) of whole faces float32 `[S, S, 3]` in [0, 1]: codes [N, n, D] float32, at most `most` at a time."""

        def compute(places: list[int]) -> list[Row]:
            faces = to_batch([images[i] for i in places], self.device)
            return [(codes,) for codes in self._encode(encoder_input(faces))]

        weights = self.key_of(self.style_encoder)
        keys = [digest("face", weights, image) for image in images]
        return torch.stack([row[0] for row in self.cache.fetch(keys, compute, most)])

    def key_of(self, *networks: nn.Module) -> str:
        """What stands for the networks, and the device they compute on, in the key of what they made."""
        return repr([str(self.device), *map(key_of_weights, networks)])

    def _encode(self, seen: torch.Tensor) -> torch.Tensor:
        return self.style_encoder(seen.to(self.style_encoder.dtype)).float()

    def encode_features(self, squares: Sequence[EditSquare], strengths: dict[str, float]) -> EncodedFace:
        """What aggregation and refinement encoder make of squares; one row where all are the same."""

        def compute(places: list[int]) -> list[Row]:
            batch = make_network_input([squares[i] for i in places], strengths, self.device)
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

        weights = self.key_of(self.aggregation, self.refiner)
        keys = [digest("encoded", weights, repr(self.key_of_square(square, strengths))) for square in squares]
        rows = self.cache.fetch(keys, compute, len(squares))
        if len(set(keys)) == 1:
            rows = rows[:1]
        global_code, bottom, *skips = (torch.cat(tensors) for tensors in zip(*rows, strict=True))
        return EncodedFace(global_code, bottom, skips)

    @staticmethod
    def key_of_square(square: EditSquare, strengths: dict[str, float]) -> bytes:
        """Key of what the networks make of a masked square and its guidance."""
        seen, drawn = square.seen, [strengths[name] for name in ("sketch", "semantics", "color")]
        # Of colours also where they are: black paint and no paint are the same numbers.
        paint = (None, None) if seen.color is None else (seen.color.colors, seen.color.where)
        return digest(square.cut.image, square.cut.hole, seen.sketch, seen.labels, *paint, repr(drawn))
