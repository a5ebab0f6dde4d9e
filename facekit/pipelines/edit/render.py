"""The second half of `FaceEditPipeline`'s machinery: planning of references, the text's optimisation, rendering."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor, nn

from facekit.conditions.drawings import SemanticsInput, read_guidance
from facekit.images.masks import MaskInput, load_masks
from facekit.images.photo import ImageInput, load_images
from facekit.models.latent_warper import LatentWarper
from facekit.models.refiner import EncodedFeatures, RefinementAutoEncoder
from facekit.models.style_directions import StyleDirections
from facekit.models.style_encoder import StyleEncoder
from facekit.models.stylegan2 import StyleGAN2Generator
from facekit.pipelines.edit.encoding import EditCache, EditEncoding
from facekit.pipelines.edit.plan import (
    EditJob,
    EditSquare,
    Exemplars,
    digest,
    plan_edit,
    plan_faces,
    same_face,
    square_key,
)
from facekit.pipelines.edit.settings import EditSettings
from facekit.pipelines.exemplar.plan import ExemplarFace

if TYPE_CHECKING:
    from facekit.conditions.text import TextGuide, TextStep

ENCODER_CHANNELS = 26


class EditRendering(EditEncoding):
    """Planning, text and rendering.

    Needs the components `style_encoder`, `prior`, `latent_warper`, `aggregation` and `refiner`.
    """

    _text_guide: tuple[str | None, Any] | None = None

    @staticmethod
    def _check_fit(
        style_encoder: StyleEncoder,
        prior: StyleGAN2Generator,
        latent_warper: LatentWarper,
        refiner: RefinementAutoEncoder,
        directions: StyleDirections | None,
    ) -> None:
        channels = style_encoder.config.in_channels
        if channels != ENCODER_CHANNELS:
            raise ValueError(
                f"the style encoder reads {channels} channels; {ENCODER_CHANNELS} are needed (picture, sketch, "
                "semantic map, colour)."
            )
        expected = (prior.num_styles, prior.config.style_dim)
        found = {
            "style encoder": (style_encoder.config.num_styles, style_encoder.config.style_dim),
            "latent warper": (latent_warper.config.num_styles, latent_warper.config.style_dim),
        }
        if directions is not None:
            found["directions"] = (directions.config.num_styles, directions.config.style_dim)
        for name, shape in found.items():
            if shape != expected:
                raise ValueError(
                    f"the prior has {expected[0]} codes of {expected[1]} numbers; the {name} has "
                    f"{shape[0]} of {shape[1]}."
                )
        if refiner.config.style_dim != expected[1] or refiner.num_styles > expected[0]:
            raise ValueError(
                f"the refiner takes {refiner.num_styles} codes of {refiner.config.style_dim} numbers; the prior "
                f"has {expected[0]} of {expected[1]}."
            )

    def _plan_photos(
        self,
        image: ImageInput | Sequence[ImageInput],
        mask: MaskInput | Sequence[MaskInput] | None,
        sketch: MaskInput | Sequence[MaskInput] | None,
        semantics: SemanticsInput | Sequence[SemanticsInput] | None,
        color: ImageInput | Sequence[ImageInput] | None,
        aligned: bool,
        faces: str | Sequence[int],
        detector: Any,
        max_pixels: int | None,
    ) -> list[EditJob]:
        if mask is None:
            raise ValueError("mask is missing. Pass one that marks what may change.")
        photos = load_images(image, max_pixels=max_pixels)
        masks = load_masks(mask, photos, max_pixels=max_pixels)
        holes = [hole for hole, _ in masks]
        guidance = read_guidance(photos, holes, sketch, semantics, color, max_pixels)
        return [
            plan_edit(
                photo,
                own,
                drawn,
                sample_size=self.refiner.config.sample_size,
                aligned=aligned,
                faces=faces,
                detector=detector,
            )
            for photo, own, drawn in zip(photos, masks, guidance, strict=True)
        ]

    def _plan_references(
        self, pictures: Exemplars | None, word: str, options: dict[str, Any], name: str
    ) -> list[ExemplarFace]:
        """Faces of exemplars or pose references; none for the `word` that stands for something else."""
        if pictures is None or (isinstance(pictures, str) and pictures == word):
            return []
        return plan_faces(pictures, self.refiner.config.sample_size, name=name, **options)

    def _vectors(self, z: Tensor | None, count: int, generators: list[torch.Generator]) -> Tensor:
        shape = (count, self.prior.config.style_dim)
        if z is not None and tuple(z.shape) != shape:
            raise ValueError(
                f"z has the shape {list(z.shape)}; {list(shape)} is needed, one row for each face and candidate."
            )
        if z is None:
            z = randn_tensor(shape, generator=generators, device=self._execution_device, dtype=torch.float32)
        return z.to(self._execution_device)

    def _random_codes(self, z: Tensor, truncation_psi: float) -> Tensor:
        """w^z [N, n, D] float32, drawn towards the average."""
        _, _, codes = self.prior(z, truncation_psi=truncation_psi, codes_only=True, return_dict=False)
        return codes.float()

    def _render(
        self, w_plus: Tensor, encoded: EncodedFeatures, noise: str, generators: list[torch.Generator] | None
    ) -> Tensor:
        """I_pred [B, 3, S, S] float32 of codes [B, n, D] and what the refinement encoder made of the squares."""
        _, bank, _ = self.prior(
            w_plus=w_plus.to(self.prior.dtype),
            noise=noise,
            generator=generators,
            stop_at=len(self.refiner.channels) - 1,
            feature_layer="conv",
            return_dict=False,
        )
        dtype = self.refiner.dtype
        return self.refiner(
            None,
            w_plus.to(dtype),
            [feature.to(dtype) for feature in bank],
            noise=noise,
            generator=generators,
            encoded=encoded,
        ).float()

    def load_text_guide(self, text_guide: "TextGuide | str | None", prompt: str) -> "TextGuide":
        """The text guide that was passed, or loaded by name and kept; it refuses a prompt that it cannot read."""
        if text_guide is not None and not isinstance(text_guide, str):
            guide = text_guide
        elif self._text_guide is not None and self._text_guide[0] == text_guide:
            guide = self._text_guide[1]
        else:
            from facekit.conditions.text import TextGuide

            guide = TextGuide.from_pretrained(*([] if text_guide is None else [text_guide]))
            self._text_guide = (text_guide, guide)
        guide.check_prompt(prompt)
        return guide

    def _follow_text(
        self,
        guide: "TextGuide",
        prompt: str,
        w_plus: Tensor,
        squares: Sequence[EditSquare],
        pixels: tuple[Tensor, Tensor],
        settings: EditSettings,
        cache: EditCache,
        steps: int,
        options: dict[str, Any],
        callback: tuple[Callable | None, Sequence[str]],
    ) -> Tensor:
        """Codes [N, n, D] whose faces follow the text (Eq. 6.4, 6.5), one sample after the other."""
        known, holes = pixels
        guide.to(w_plus.device)

        def compute(places: list[int]) -> list[tuple[Tensor, ...]]:
            (place,) = places
            encoded = self._encoded([squares[place]], settings.strengths, cache)
            one = slice(place, place + 1)
            seen: list[Tensor] = []

            def render(codes: Tensor) -> Tensor:
                seen[:] = [codes.detach()]
                predicted = self._render(codes, encoded, "fixed", None)
                return predicted * holes[one] + known[one] * (1 - holes[one])

            with self.progress_bar(total=steps) as progress_bar, _frozen(self.prior, self.refiner):

                def report(step: "TextStep") -> None:
                    progress_bar.update()
                    if callback[0] is not None:
                        tensors = {"w_plus": seen[0]}
                        callback_kwargs = {}
                        for key in callback[1]:
                            callback_kwargs[key] = tensors[key]
                        callback[0](self, step.step, step.steps, callback_kwargs)

                found = guide.optimize(
                    render,
                    w_plus[one],
                    prompt,
                    steps=steps,
                    on_step=report,
                    should_stop=lambda: self.interrupt,
                    **options,
                )
            return [(found.codes[0],)]

        told = repr((prompt, steps, sorted(options.items())))
        weights = self._weights_key(self.aggregation, self.refiner, self.prior, guide.model)
        keys = [
            digest("text", told, weights, codes, repr(square_key(square, settings.strengths)))
            for codes, square in zip(w_plus, squares, strict=True)
        ]
        found = torch.stack([row[0] for row in cache.rows(keys, compute, 1)]).to(w_plus)
        if self.interrupt:
            cache.forget(keys)
        return torch.lerp(w_plus, found, settings.strengths["prompt"])

    def _notes(
        self,
        jobs: list[EditJob],
        references: list[ExemplarFace],
        pairs: list[tuple[int, int | None]],
        exemplars: list[ExemplarFace],
        output_type: str,
    ) -> list[str]:
        """Everything the user should know, with the pictures' names in front when there are several."""
        notes = [note for job in jobs for note in job.job.labelled_notes(len(jobs), output_type)]
        for face in references:
            notes += [f"{face.photo.name}: {note}" if len(references) > 1 else note for note in face.notes]
        for photo, guide in pairs:
            if guide is not None and any(same_face(exemplars[guide].image, s) for s in jobs[photo].squares):
                notes.append(
                    f"{exemplars[guide].photo.name} is the photo itself: the edit is styled after what the mask hides"
                )
        return notes


@contextmanager
def _frozen(*networks: nn.Module) -> Iterator[None]:
    """Parameters without gradients, so that an optimisation of codes neither computes nor keeps any."""
    changed = [p for network in networks for p in network.parameters() if p.requires_grad]
    for parameter in changed:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in changed:
            parameter.requires_grad_(True)
