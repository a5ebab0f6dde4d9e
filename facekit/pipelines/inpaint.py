"""`FaceInpaintPipeline`: holes in photos are filled, face by face or anywhere (GRIG, thesis Chapter 4)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from diffusers.utils import BaseOutput
from diffusers.utils.torch_utils import randn_tensor
from PIL import Image

from facekit.faces.detect import Detector, Face
from facekit.faces.jobs import PhotoJob, plan_fill
from facekit.faces.squares import FaceSquare
from facekit.images.masks import MaskInput, load_masks
from facekit.images.photo import MAX_PIXELS, ImageInput, Photo, load_images
from facekit.images.tensors import (
    OutputType,
    Pictures,
    check_output_type,
    deliver,
    heat_map,
    to_pictures,
)
from facekit.models.fast.fold import is_compiled
from facekit.models.residual_inpainter import ResidualInpainter
from facekit.notes import Note
from facekit.pipelines import tones
from facekit.pipelines.base import (
    AsTuple,
    FacekitPipeline,
    Generators,
    SampleOrder,
    StepCallback,
    check_generators,
    check_known_faces,
    split_generators,
)
from facekit.pipelines.restore import FaceRestorePipeline
from facekit.pipelines.restored_fill import check_restorer, restore_fill


@dataclass
class FaceInpaintOutput(BaseOutput):
    """What `FaceInpaintPipeline` returns.

    Attributes:
        images: the filled photos, one for each photo given. "pil": Pillow images of the photos' own mode,
            size, alpha and depth. "np": float32 `[B, H, W, C]` in [0, 1]. "pt": float32 `[B, C, H, W]` in [0,
            1]. C is that of the photo (1 gray, 2 gray + alpha, 3 RGB, 4 RGB + alpha); a list where sizes
            differ. "photo": `facekit.images.photo.Photo`, which keeps 16-bit colour.
        steps: with `return_steps`, for each photo a list of its pictures after steps 1 to T; else None.
        residuals: with `return_steps`, for each photo a list of T maps float32 `[H, W]`: how much the step
            changed a pixel, the mean of |residual| over the channels in units of [-1, 1]; 0 outside the hole;
            else None.
        faces: for each photo the faces that were filled, left to right.
        notes: remarks for the user, for example that a mask was empty.
    """

    images: Pictures
    steps: list[Pictures] | None = None
    residuals: list[list[np.ndarray]] | None = None
    faces: list[list[Face]] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)

    def heat_maps(self) -> list[list[Image.Image]]:
        """The residuals as pictures, red for large and blue for small change (thesis Fig. 4.22).

        One colour scale for all steps of a photo. Raises ValueError without `return_steps=True`.
        """
        if self.residuals is None:
            raise ValueError("There are no residuals. Call the pipeline with return_steps=True.")
        peaks = [max(float(step.max()) for step in steps) for steps in self.residuals]
        return [
            [heat_map(step, peak) for step in steps]
            for steps, peak in zip(self.residuals, peaks, strict=True)
        ]


class FaceInpaintPipeline(FacekitPipeline):
    """Fills holes in photos by iterative residual reasoning.

    Lu et al., GRIG: few-shot generative residual image inpainting, Computational Visual Media (2025). Every
    reasoning step computes Eq. 4.1, c_t = (c_{t-1} + G(c_{t-1}, M)) M + y (1 - M) with c_0 = y (1 - M).

    Args:
        residual_inpainter: the generator G.
        match_tones: default of the call's argument; saved with the model. The published method has none.
        num_inference_steps: default of the call's reasoning steps T; saved with the model. The published model was
            trained with 3.

    Raises:
        ValueError: `num_inference_steps` is no whole number of 1 or more.
    """

    model_cpu_offload_seq = "residual_inpainter"
    _callback_tensor_inputs = ("image", "residual", "mask")

    residual_inpainter: ResidualInpainter

    def __init__(
        self, residual_inpainter: ResidualInpainter, match_tones: bool = False, num_inference_steps: int = 3
    ) -> None:
        super().__init__()
        if not isinstance(num_inference_steps, int) or num_inference_steps < 1:
            raise ValueError(
                f"The model's num_inference_steps is {num_inference_steps!r}; it must be a whole number, 1 or more."
            )
        self.register_modules(residual_inpainter=residual_inpainter)
        self.register_to_config(match_tones=match_tones, num_inference_steps=num_inference_steps)

    def check_inputs(
        self,
        region: str,
        crop: str,
        num_inference_steps: int | None,
        max_batch_size: int,
        output_type: str,
        callback_on_step_end_tensor_inputs: Sequence[str],
    ) -> None:
        """Refuse settings that cannot work, before anything is loaded.

        Raises:
            ValueError: with the offending value and what would do.
        """
        self.check_choice("region", region, ("face", "image"))
        self.check_choice("crop", crop, ("hole", "whole"))
        check_output_type(output_type)
        self.check_counts(max_batch_size=max_batch_size)
        self.check_optional_counts(num_inference_steps=num_inference_steps)
        self.check_callback_inputs(callback_on_step_end_tensor_inputs)

    @torch.inference_mode()
    def __call__(
        self,
        image: ImageInput | Sequence[ImageInput],
        mask: MaskInput | Sequence[MaskInput],
        *,
        region: Literal["face", "image"] = "face",
        crop: Literal["hole", "whole"] = "hole",
        aligned: bool = False,
        faces: str | Sequence[int] = "all",
        detector: str | Detector | None = None,
        known_faces: Sequence[Sequence[Face]] | None = None,
        num_inference_steps: int | None = None,
        match_tones: bool | None = None,
        restore_with: FaceRestorePipeline | None = None,
        return_steps: bool = False,
        generator: Generators = None,
        watermark: bool = False,
        max_batch_size: int = 8,
        max_pixels: int | None = MAX_PIXELS,
        output_type: OutputType = "pil",
        return_dict: bool = True,
        callback_on_step_end: StepCallback | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("image",),
    ) -> FaceInpaintOutput | AsTuple:
        """Fill the holes of one photo or several. Pixels outside the mask come back bit-identical.

        A photo without colours, gray or toned as sepia is, stays without (`facekit.images.tint`).

        Args:
            image: what `facekit.images.photo.load_image` takes, one or a list.
            mask: what `facekit.images.masks.load_mask` takes, one for all photos or one for each. White is filled;
                for colours, labels and transparency see the table at the head of that module.
            region: "face": every face that the mask touches is aligned, filled and put back; what the mask
                covers beyond the faces is filled as in "image", with a note. "image": squares around the
                holes, for any subject.
            crop: for `region="image"`: "hole" cuts a square with context around each group of holes, "whole"
                shows the network the whole picture at once.
            aligned: the photos are aligned faces already: no detection, the whole picture is one square.
            faces: which faces to fill: "all", "largest" or indices from left to right.
            detector: detector name or object for `facekit.faces.detect_faces`; None is the bundled one.
            known_faces: for each photo all its faces, if they were found before; then no photo is searched.
            num_inference_steps: reasoning steps T. None: as the model's configuration says, which is as many as it was
                trained with.
            match_tones: remove steps in tone along the rim of the hole from the result and from every returned step,
                see `facekit.pipelines.tones`; None: as the model's configuration says.
            restore_with: a `FaceRestorePipeline` that goes over the filled faces, inside their holes, and draws their
                detail, see `facekit.pipelines.restored_fill`. The bundled models gain by it; None: as in the thesis.
                Of the steps the last one's picture alone is restored.
            return_steps: also return every step's picture and residual map.
            watermark: mark the changed pixels invisibly, see `facekit.provenance.watermark`.
            generator: source of the noise maps; a list has one for each photo. A model with random codes (`style_dim`
                of its network) draws each square's code from it, so that seeds fill differently: give a photo several
                times, with as many generators, for several fills.
            max_batch_size: largest number of squares the network sees at once; results do not depend on it
                beyond rounding.
            max_pixels: refuse larger photos before they are decoded; None lifts the limit.
            output_type: "pil", "photo", "np" or "pt", see `FaceInpaintOutput`.
            return_dict: False gives the tuple (images, steps, residuals, faces, notes) without its None.
            callback_on_step_end: called as `f(pipeline, step, timestep, tensors)` after each step; it may
                return a dict with a new "image". Setting `pipeline.interrupt = True` in it ends the reasoning there.
            callback_on_step_end_tensor_inputs: which of "image" (present fill `[N, 3, S, S]` in [-1, 1]),
                "residual" (the step's change, `[N, 3, S, S]`) and "mask" (`[N, 1, S, S]`, 1 = hole) the callback
                receives; N counts squares.

        Raises:
            FileNotFoundError: a photo or mask does not exist.
            TypeError: a photo or mask of an unknown kind.
            ValueError: bad settings; a photo or mask that cannot be used (see `load_image`, `load_mask`); no
                face, or none under the mask, with `region="face"`.
        """
        # 1. Check the settings
        self.check_inputs(
            region,
            crop,
            num_inference_steps,
            max_batch_size,
            output_type,
            callback_on_step_end_tensor_inputs,
        )
        check_restorer(restore_with)
        if num_inference_steps is None:
            num_inference_steps = self.config["num_inference_steps"]

        self.interrupt = False

        # 2. Read photos and masks; whatever is wrong with them shows here
        photos = load_images(image, max_pixels=max_pixels)
        generator = check_generators(generator, len(photos))
        masks = load_masks(mask, photos, max_pixels=max_pixels)
        found_before = check_known_faces(known_faces, len(photos))

        # 3. Find the faces and cut the squares that the network fills
        jobs = [
            plan_fill(
                photo,
                hole,
                notes,
                sample_size=self.residual_inpainter.config.sample_size,
                aligned=aligned,
                region=region,
                crop=crop,
                beyond_faces="fill",
                faces=faces,
                detector=detector,
                known_faces=found,
            )
            for photo, (hole, notes), found in zip(photos, masks, found_before, strict=True)
        ]
        owners = [index for index, job in enumerate(jobs) for _ in job.squares]

        # 4. Make one batch of them
        history: list[torch.Tensor] = []
        residuals: list[torch.Tensor] = []
        if owners:
            known, holes = self.make_batch(jobs)
            noise_source = [generator[i] for i in owners] if isinstance(generator, list) else generator
            fill = known * (1 - holes)
            network = self.residual_inpainter
            if not is_compiled(network):
                network = network.fold()
            matched = self.config["match_tones"] if match_tones is None else match_tones
            z = self.residual_inpainter.draw_codes(len(fill), noise_source, fill.device)

            # 5. Reasoning steps
            with self.progress_bar(total=num_inference_steps) as progress_bar:
                for step in range(num_inference_steps):
                    residual = self._predict_residual(network, fill, holes, z, noise_source, max_batch_size)
                    fill = (fill + residual) * holes + known * (1 - holes)

                    tensors = {"image": fill, "residual": residual, "mask": holes}
                    names = callback_on_step_end_tensor_inputs
                    fill = self.call_back(callback_on_step_end, names, step, step, **tensors).get(
                        "image", fill
                    )

                    if return_steps:
                        residuals.append((residual.abs().mean(1, keepdim=True) * holes).cpu())
                        history.append((tones.match_tones(fill, known, holes) if matched else fill).cpu())
                    progress_bar.update()
                    if self.interrupt:
                        break
            self.check_finite(fill, self.residual_inpainter.dtype)
            if not return_steps:
                history = [(tones.match_tones(fill, known, holes) if matched else fill).cpu()]

            # 6. Let a restorer go over the faces
            if restore_with is not None:
                faces_only = [
                    aligned or isinstance(square, FaceSquare) for job in jobs for square in job.squares
                ]
                sources = split_generators(generator, owners)
                history[-1] = restore_fill(
                    restore_with, history[-1], holes.cpu(), sources, max_batch_size, faces_only
                )

        # 7. Put the squares back into the photos
        # Where nothing is filled there is no history, and every step shows the photos as they came.
        count = len(history) or (num_inference_steps if return_steps else 1)
        finished = self._paint(jobs, history, count, watermark)
        images = deliver([pictures[-1] for pictures in finished], output_type)
        steps = [deliver(pictures, output_type) for pictures in finished] if return_steps else None
        maps = self._lay_residuals(jobs, residuals, count) if return_steps else None
        output = FaceInpaintOutput(
            images=images,
            steps=steps,
            residuals=maps,
            faces=[job.faces for job in jobs],
            notes=self.collect_notes(jobs, output_type),
        )

        # 8. Let go of the device
        self.maybe_free_model_hooks()
        return output if return_dict else output.to_tuple()

    def _predict_residual(
        self,
        network: ResidualInpainter,
        fill: torch.Tensor,
        holes: torch.Tensor,
        z: torch.Tensor | None,
        generator: torch.Generator | list[torch.Generator] | None,
        max_batch_size: int,
    ) -> torch.Tensor:
        """G(c, M) of all squares, float32; noise is drawn for all at once, so that parts do not change it.

        `z` are the squares' codes `[N, style_dim]`, None in a network without.
        """
        dtype = network.dtype
        count, _, height, width = fill.shape
        shape = (count, 1, height // 2, width // 2)
        noise = [
            randn_tensor(shape, generator=generator, device=fill.device, dtype=torch.float32)
            for _ in range(2)
        ]
        parts = []
        for start in range(0, count, max_batch_size):
            part = slice(start, start + max_batch_size)
            codes = {} if z is None else {"z": z[part].to(dtype)}
            noises = [n[part].to(dtype) for n in noise]
            residual = network(fill[part].to(dtype), holes[part].to(dtype), noise=noises, **codes)
            parts.append(residual.float())
        return torch.cat(parts)

    def _paint(
        self, jobs: list[PhotoJob], history: list[torch.Tensor], count: int, watermark: bool
    ) -> list[list[Photo]]:
        """For each photo what it was after every recorded step."""
        order = SampleOrder.of([len(job.squares) for job in jobs])
        tints = [tint for job in jobs for tint in job.tints]
        steps = [self.finish(jobs, order, to_pictures(fill, tints), watermark) for fill in history]
        steps = steps or [[job.photo for job in jobs]] * count
        return [list(photos) for photos in zip(*steps, strict=True)]

    def _lay_residuals(
        self, jobs: list[PhotoJob], residuals: list[torch.Tensor], count: int
    ) -> list[list[np.ndarray]]:
        """For each photo a map float32 `[H, W]` of every step."""
        order = SampleOrder.of([len(job.squares) for job in jobs])
        steps = [residual[:, 0].numpy() for residual in residuals] or [np.empty((0, 1, 1))] * count
        return [[jobs[photo].lay(list(step[part])) for step in steps] for photo, part in order.results()]
