"""`FaceRestorePipeline`: damaged faces come back sharp, as the same persons (VSPBFR, thesis Chapter 3)."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from diffusers.utils import BaseOutput
from diffusers.utils.torch_utils import randn_tensor

from facekit.faces import Face
from facekit.images.photo import MAX_PIXELS, ImageInput, load_images
from facekit.images.tensors import check_output_type, deliver
from facekit.models.code_diffuser import CodeDiffuser
from facekit.models.identity_encoder import IdentityEncoder
from facekit.models.layers import to_channels_last
from facekit.models.restorer import RestoreAutoEncoder
from facekit.models.style_encoder import StyleEncoder
from facekit.models.stylegan2 import StyleGAN2Generator
from facekit.pipelines.base import FacekitPipeline
from facekit.pipelines.restore_plan import Background, plan_aligned, plan_photo
from facekit.pipelines.samples import (
    Pictures,
    check_generators,
    deliver_squares,
    in_parts,
    order_samples,
    sample_generators,
    to_squares,
)
from facekit.schedulers import CodeDiffusionScheduler

Callback = Callable[
    ["FaceRestorePipeline", int, int, dict[str, torch.Tensor]], dict[str, torch.Tensor] | None
]

# The coarse structure that `fidelity` takes from the input: cells a side. Damage of the thesis' ranges leaves
# it intact; at 32 cells, what 8-fold downsampling leaves of a 256-pixel face, noise came back with it (0.4 dB).
FIDELITY_CELLS = 16


@dataclass
class FaceRestoreOutput(BaseOutput):
    """What `FaceRestorePipeline` returns.

    Attributes:
        images: the photos with their restored faces, in the form of `FaceInpaintOutput.images`; with
            `num_images` > 1 all candidates of the first photo, then those of the second, and so on.
        faces: for each photo the faces that were restored, left to right; empty with `aligned=True`.
        similarities: for each entry of `images` a list with the identity similarity (cosine, -1 to 1) between
            every face before and after; None without an identity encoder.
        aligned_inputs: with `return_aligned`, for each entry of `images` the aligned faces as the networks
            saw them, `[S, S]`; else None.
        aligned_outputs: alike, the restored faces.
        style_prompts: alike, for every face the list of pictures that the prior makes of the codes after each
            denoising step (thesis Fig. 3.7).
        notes: remarks for the user, for example that no face was found.
    """

    images: Pictures
    faces: list[list[Face]] | None = None
    similarities: list[list[float]] | None = None
    aligned_inputs: list[Pictures] | None = None
    aligned_outputs: list[Pictures] | None = None
    style_prompts: list[list[Pictures]] | None = None
    notes: list[str] | None = None


class FaceRestorePipeline(FacekitPipeline):
    """Restores faces under visual style prompts.

    Lu et al., Visual style prompt learning using diffusion models for blind face restoration, Pattern
    Recognition 161 (2025). The style encoder reads W+ codes off the damaged face, the code diffuser denoises
    codes under them (Eq. 3.3), the prior turns the clean codes into features, and the restorer rebuilds the
    face from the damaged picture, codes and features (Eq. 3.5 to 3.7).

    Args:
        style_encoder: damaged face -> codes.
        code_diffuser: predicts clean codes (or noise) from noisy ones.
        scheduler: the denoising steps.
        prior: the StyleGAN2 generator.
        restorer: the restoration auto-encoder.
        identity_encoder: optional; with it the output tells how alike each face stayed.
    """

    model_cpu_offload_seq = "style_encoder->code_diffuser->prior->restorer->identity_encoder"
    _optional_components = ["identity_encoder"]  # noqa: RUF012  diffusers reads a plain list
    _callback_tensor_inputs = ("latents", "style_codes")

    def __init__(
        self,
        style_encoder: StyleEncoder,
        code_diffuser: CodeDiffuser,
        scheduler: CodeDiffusionScheduler,
        prior: StyleGAN2Generator,
        restorer: RestoreAutoEncoder,
        identity_encoder: IdentityEncoder | None = None,
    ) -> None:
        super().__init__()
        self.register_modules(
            style_encoder=style_encoder,
            code_diffuser=code_diffuser,
            scheduler=scheduler,
            prior=prior,
            restorer=restorer,
            identity_encoder=identity_encoder,
        )
        for network in (style_encoder, prior, restorer, identity_encoder):
            if isinstance(network, torch.nn.Module):
                to_channels_last(network)

    def check_inputs(
        self,
        fidelity: float,
        num_images: int,
        max_batch_size: int,
        min_face_size: float,
        output_type: str,
        callback_on_step_end_tensor_inputs: Sequence[str],
    ) -> None:
        """Refuse settings that cannot work, before anything is loaded.

        Raises:
            ValueError: with the offending value and what would do.
        """
        if not isinstance(fidelity, int | float) or not 0 <= fidelity <= 1:
            raise ValueError(
                f"fidelity is {fidelity!r}; it must lie between 0 (the network's picture) and 1 (the input's "
                "coarse structure)."
            )
        self.check_counts(num_images=num_images, max_batch_size=max_batch_size)
        if not min_face_size >= 0:
            raise ValueError(f"min_face_size is {min_face_size!r}; it must be a number of pixels, 0 or more.")
        check_output_type(output_type)
        self.check_callback_inputs(callback_on_step_end_tensor_inputs)

    @torch.inference_mode()
    def __call__(
        self,
        image: ImageInput | Sequence[ImageInput],
        aligned: bool = False,
        faces: str | Sequence[int] = "all",
        detector: Any = None,
        min_face_size: float = 32.0,
        fidelity: float = 0.5,
        num_inference_steps: int | None = None,
        num_images: int = 1,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        latents: torch.Tensor | None = None,
        z: torch.Tensor | None = None,
        background: Background | None = None,
        return_aligned: bool = False,
        watermark: bool = False,
        max_batch_size: int = 4,
        max_pixels: int | None = MAX_PIXELS,
        output_type: Literal["pil", "photo", "np", "pt"] = "pil",
        return_dict: bool = True,
        callback_on_step_end: Callback | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
    ) -> FaceRestoreOutput | tuple:
        """Restore the faces of one photo or several. Pixels outside the faces come back bit-identical.

        A photo without colours, gray or toned as sepia is, comes back without (`facekit.pipelines.tint`).

        Args:
            image: what `facekit.images.photo.load_image` takes, one or a list.
            aligned: the photos are aligned faces already (square, any size): no detection, no pasting.
            faces: which faces to restore: "all", "largest" or indices from left to right.
            detector: detector name or object for `facekit.faces.detect_faces`; None is the bundled one.
            min_face_size: smaller faces are left as they are, with a note; pixels, shorter side of the box.
            fidelity: share of the difference between input and restored face, seen at 16 x 16 cells, that is
                added back. At 0 the picture is the network's own; at 1 its coarse structure (place, shape,
                shading and colour of the features) is the input's and the network gives the detail. As it
                rises the result moves towards the input, and identity similarity with it.
            num_inference_steps: denoising steps; None is the number the diffuser was trained with (4).
            num_images: candidates for each photo, from different random codes.
            generator: source of all randomness; a list has one for each photo. Results for a seed depend
                neither on the batch nor on the device.
            latents: starting codes x_T `[N, n, D]` instead of random ones, N = faces times `num_images`, in
                the order photo, candidate, face.
            z: random style `[N, D]` of the restorer instead of a drawn one, in the same order.
            background: called with each photo's colours `[H, W, 3]` (own depth), returns them enlarged by one
                factor; the faces are pasted into that.
            return_aligned: also return the aligned faces before and after, and the style prompts.
            watermark: mark the changed pixels invisibly, see `facekit.provenance.watermark`; command line and demo do.
            max_batch_size: largest number of faces the networks see at once.
            max_pixels: refuse larger photos before they are decoded; None lifts the limit.
            output_type: "pil", "photo", "np" or "pt", see `FaceRestoreOutput`.
            return_dict: False gives a tuple of the output's entries that are not None.
            callback_on_step_end: called as `f(pipeline, step, timestep, tensors)` after each denoising step;
                it may return a dict with new "latents". Setting `pipeline.interrupt = True` in it ends the denoising
                there.
            callback_on_step_end_tensor_inputs: which of "latents" (codes so far) and "style_codes" (those of
                the damaged faces), both `[N, n, D]`, the callback receives.

        Raises:
            FileNotFoundError: a photo does not exist.
            TypeError: a photo of an unknown kind.
            ValueError: bad settings, a photo that is refused (see `load_image`), a face index that a photo
                does not have, or `latents` or `z` of another shape.
        """
        # 1. Check the settings
        self.check_inputs(
            fidelity,
            num_images,
            max_batch_size,
            min_face_size,
            output_type,
            callback_on_step_end_tensor_inputs,
        )
        device = self._execution_device
        self.interrupt = False
        # Its steps are this call's own: other threads may ask for another number at the same time.
        scheduler = copy.copy(self.scheduler)
        scheduler.set_timesteps(num_inference_steps, device=device)

        # 2. Read the photos; whatever is wrong with them shows here
        photos = load_images(image, max_pixels=max_pixels)
        generator = check_generators(generator, len(photos))

        # 3. Find and align the faces
        size = self.restorer.config.sample_size
        if aligned:
            jobs = [plan_aligned(photo, size) for photo in photos]
        else:
            enlarges = background is not None
            jobs = [plan_photo(photo, size, faces, detector, min_face_size, enlarges) for photo in photos]
        inputs = [face for job in jobs for face in job.inputs]
        owners, sources = order_samples([len(job.inputs) for job in jobs], num_images)

        # 4. Settle all randomness
        count, width = len(sources), self.style_encoder.config.style_dim
        self._check_given(latents, (count, self.style_encoder.config.num_styles, width), "latents")
        self._check_given(z, (count, self.restorer.config.style_dim), "z")
        generators = sample_generators(generator, owners)
        latents, z = self._draw(latents, z, generators, count, device)

        restored, prompts, similarities = [], [], []
        if count:
            # 5. Encode the faces, each once
            damaged = torch.from_numpy(np.stack(inputs).transpose(0, 3, 1, 2) * np.float32(2) - np.float32(1))
            damaged = damaged.to(device)
            codes = in_parts(
                lambda part: self.style_encoder(damaged[part]).float(),
                len(inputs),
                max_batch_size,
            )[sources]

            # 6. Denoise codes under them
            history = self._denoise(
                scheduler,
                latents,
                codes,
                generators,
                callback_on_step_end,
                callback_on_step_end_tensor_inputs,
            )

            # 7. Restore under the clean codes and the prior's features
            samples = damaged[sources]
            restored = in_parts(
                lambda part: self._restore(samples[part], history[-1][part], z[part], generators[part]),
                count,
                max_batch_size,
            )
            if not torch.isfinite(restored).all():
                raise ValueError(
                    f"The networks gave NaN or infinity in {self.restorer.dtype}. "
                    "Load the pipeline with torch_dtype=torch.float32 or torch.bfloat16."
                )
            restored = keep_coarse_structure(restored, samples, fidelity).clamp(-1, 1)

            # 8. How alike did the faces stay?
            if self.identity_encoder is not None:
                dtype = self.identity_encoder.dtype
                similarities = in_parts(
                    lambda part: self.identity_encoder.similarity(
                        samples[part].to(dtype), restored[part].to(dtype)
                    ),
                    count,
                    max_batch_size,
                ).tolist()
            if return_aligned:
                prompts = [self._prompt(step, max_batch_size) for step in history]
            tints = [tint for job in jobs for tint in job.tints]
            restored = to_squares(restored, [tints[source] for source in sources])

        # 9. Put the faces back into the photos
        images, per_image, shown_in = [], [], []
        first = 0
        for job in jobs:
            for _ in range(num_images):
                last = first + len(job.inputs)
                images.append(job.finished(restored[first:last], background, watermark))
                per_image.append(slice(first, last))
                shown_in.append(job.photo)
                first = last
        seen = [inputs[source] for source in sources] if return_aligned else []
        steps = [
            deliver_squares([step[index] for step in prompts], output_type)
            for index in (range(count) if return_aligned else ())
        ]
        optional = {
            "similarities": [list(similarities[part]) for part in per_image],
            "aligned_inputs": [
                deliver_squares(seen[part], output_type, photo)
                for part, photo in zip(per_image, shown_in, strict=True)
            ],
            "aligned_outputs": [
                deliver_squares(restored[part], output_type, photo)
                for part, photo in zip(per_image, shown_in, strict=True)
            ],
            "style_prompts": [steps[part] for part in per_image],
        }
        wanted = {"similarities"} if self.identity_encoder is not None else set()
        if return_aligned:
            wanted |= {"aligned_inputs", "aligned_outputs", "style_prompts"}
        output = FaceRestoreOutput(
            images=deliver(images, output_type),
            faces=[job.faces for job in jobs],
            notes=[note for job in jobs for note in job.labelled_notes(len(jobs), output_type)],
            **{name: value for name, value in optional.items() if name in wanted},
        )

        # 10. Let go of the device
        self.maybe_free_model_hooks()
        return output if return_dict else output.to_tuple()

    @staticmethod
    def _check_given(tensor: torch.Tensor | None, shape: tuple[int, ...], name: str) -> None:
        if tensor is not None and tuple(tensor.shape) != shape:
            raise ValueError(
                f"{name} has the shape {list(tensor.shape)}; {list(shape)} is needed, one row for each face "
                "and candidate."
            )

    def _draw(
        self,
        latents: torch.Tensor | None,
        z: torch.Tensor | None,
        generators: list[torch.Generator],
        count: int,
        device: torch.device,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """x_T `[N, n, D]` and z `[N, D]`, float32: as given, or drawn."""
        config = self.style_encoder.config
        if not count:
            return torch.empty(0), torch.empty(0)
        shape = (count, config.num_styles, config.style_dim)
        drawn = randn_tensor(shape, generator=generators, device=device, dtype=torch.float32)
        style = (count, self.restorer.config.style_dim)
        drawn_z = randn_tensor(style, generator=generators, device=device, dtype=torch.float32)
        latents = drawn if latents is None else latents.to(device, torch.float32)
        return latents * self.scheduler.init_noise_sigma, drawn_z if z is None else z.to(
            device, torch.float32
        )

    def _denoise(
        self,
        scheduler: CodeDiffusionScheduler,
        latents: torch.Tensor,
        codes: torch.Tensor,
        generators: list[torch.Generator],
        callback: Callback | None,
        callback_inputs: Sequence[str],
    ) -> list[torch.Tensor]:
        """Codes `[N, n, D]` after every denoising step."""
        history = []
        with self.progress_bar(total=len(scheduler.timesteps)) as progress_bar:
            for step, timestep in enumerate(scheduler.timesteps):
                predicted = self.code_diffuser(latents, timestep, codes).float()
                latents = scheduler.step(predicted, timestep, latents, generators).prev_sample
                if callback is not None:
                    tensors = {"latents": latents, "style_codes": codes}
                    callback_kwargs = {}
                    for key in callback_inputs:
                        callback_kwargs[key] = tensors[key]
                    changed = callback(self, step, int(timestep), callback_kwargs) or {}
                    latents = changed.get("latents", latents)
                history.append(latents)
                progress_bar.update()
                if self.interrupt:
                    break
        return history

    def _restore(
        self, damaged: torch.Tensor, codes: torch.Tensor, z: torch.Tensor, generators: list[torch.Generator]
    ) -> torch.Tensor:
        """Damaged faces `[B, 3, S, S]` -> restored ones, float32, not clamped."""
        dtype = self.restorer.dtype
        features = None
        if self.restorer.config.use_prior_features:
            # The 1024-pixel level, and each level's second half at the last one, are not needed.
            _, features, _ = self.prior(
                w_plus=codes.to(self.prior.dtype),
                stop_at=self.restorer.num_levels,
                generator=generators,
                return_dict=False,
            )
        (image,) = self.restorer(
            damaged.to(dtype),
            codes.to(dtype),
            features,
            z=z.to(dtype),
            generator=generators,
            return_dict=False,
        )
        return image.float()

    def _prompt(self, codes: torch.Tensor, max_batch_size: int) -> list[np.ndarray]:
        """The prior's pictures of codes `[N, n, D]` at the restorer's size, with the prior's stored noise."""
        size = self.restorer.config.sample_size

        def picture(part: slice) -> torch.Tensor:
            image, _, _ = self.prior(
                w_plus=codes[part].to(self.prior.dtype), noise="fixed", return_dict=False
            )
            return F.adaptive_avg_pool2d(image.float(), size)

        return to_squares(in_parts(picture, len(codes), max_batch_size))


def keep_coarse_structure(restored: torch.Tensor, damaged: torch.Tensor, fidelity: float) -> torch.Tensor:
    """Add back `fidelity` times the difference damaged - restored `[B, 3, S, S]`, seen at 16 x 16 cells."""
    if fidelity == 0:
        return restored
    coarse = F.adaptive_avg_pool2d(damaged - restored, FIDELITY_CELLS)
    smooth = F.interpolate(coarse, restored.shape[-2:], mode="bicubic", align_corners=False)
    return restored + fidelity * smooth
