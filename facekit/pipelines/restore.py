"""`FaceRestorePipeline`: damaged faces become sharp and stay the same persons (VSPBFR, thesis Chapter 3)."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers.utils import BaseOutput
from tqdm import tqdm

from facekit.faces.detect import Detector, Face
from facekit.faces.jobs import Background, PhotoJob, plan_restoration
from facekit.images.photo import MAX_PIXELS, ImageInput, Photo, load_images
from facekit.images.tensors import (
    OutputType,
    Pictures,
    check_output_type,
    deliver,
    deliver_squares,
    to_pictures,
)
from facekit.models.arcface import ArcFaceEncoder
from facekit.models.code_diffuser import CodeDiffuser
from facekit.models.fast.fold import to_channels_last
from facekit.models.identity_encoder import IdentityEncoder
from facekit.models.restorer import RestoreAutoEncoder
from facekit.models.style_encoder import StyleEncoder
from facekit.models.stylegan2 import StyleGAN2Generator
from facekit.notes import Argument, Note, Refusal
from facekit.pipelines.background import BackgroundUpscaler, plan_background
from facekit.pipelines.base import (
    AsTuple,
    FacekitPipeline,
    Generators,
    SampleOrder,
    StepCallback,
    check_generators,
    check_known_faces,
    draw_inversions,
    run_in_parts,
    split_generators,
)
from facekit.schedulers import CodeDiffusionScheduler

# The coarse structure that `fidelity` takes from the input: cells a side. Damage of the thesis' ranges leaves
# it intact; at 32 cells, what 8-fold downsampling leaves of a 256-pixel face, noise came back with it (0.4 dB).
FIDELITY_CELLS = 16
WITHOUT_DIFFUSER = (
    "{argument} is for the code diffuser, which this model does without: its style encoder's codes are used."
)


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
        aligned_outputs: with `return_aligned`, the same faces restored; else None.
        style_prompts: with `return_aligned`, for every face of each entry of `images` the list of pictures that the
            prior makes of the codes after each denoising step (thesis Fig. 3.7; not of a mirror image's); of a model
            without a code diffuser the one of the style encoder's codes. Else None.
        aligned_truths: with `truth`, the undamaged faces, as `aligned_inputs`; else None.
        truth_prompts: with `truth`, for every face of each entry of `images` the picture that the prior makes of the
            undamaged face's own codes (the ground truth's inversion of Fig. 3.7); else None.
        notes: remarks for the user, for example that no face was found.
    """

    images: Pictures
    faces: list[list[Face]] = field(default_factory=list)
    similarities: list[list[float]] | None = None
    aligned_inputs: list[Pictures] | None = None
    aligned_outputs: list[Pictures] | None = None
    style_prompts: list[list[Pictures]] | None = None
    aligned_truths: list[Pictures] | None = None
    truth_prompts: list[Pictures] | None = None
    notes: list[Note] = field(default_factory=list)


class FaceRestorePipeline(FacekitPipeline):
    """Restores faces under visual style prompts.

    Lu et al., Visual style prompt learning using diffusion models for blind face restoration, Pattern
    Recognition 161 (2025). The style encoder reads W+ codes off the damaged face, the code diffuser denoises
    codes under them (Eq. 3.3), the prior turns the clean codes into features, and the restorer rebuilds the
    face from the damaged picture, codes and features (Eq. 3.5 to 3.7).

    Args:
        style_encoder: damaged face -> codes.
        code_diffuser: predicts clean codes (or noise) from noisy ones. None: the restorer gets the style encoder's
            codes as they are (thesis Table 3.3, a).
        scheduler: the denoising steps; without `code_diffuser` there are none, and it may be None.
        prior: the StyleGAN2 generator.
        restorer: the restoration auto-encoder.
        identity_encoder: optional; with it the output says how similar each restored face is to the given one.
        fidelity: default of the call's argument; saved with the model. The published method has none (0).
        self_ensemble: default of the call's argument; saved with the model. The published method does without.

    Raises:
        ValueError: a code diffuser without scheduler, a `fidelity` outside 0 to 1, or a `self_ensemble` that is
            neither True nor False.
    """

    model_cpu_offload_seq = "style_encoder->code_diffuser->prior->restorer->identity_encoder"
    # diffusers reads a plain list
    _optional_components = ["identity_encoder", "code_diffuser", "scheduler"]  # noqa: RUF012
    _callback_tensor_inputs = ("latents", "style_codes")

    style_encoder: StyleEncoder
    code_diffuser: CodeDiffuser | None
    scheduler: CodeDiffusionScheduler | None
    prior: StyleGAN2Generator
    restorer: RestoreAutoEncoder
    identity_encoder: IdentityEncoder | ArcFaceEncoder | None

    def __init__(
        self,
        style_encoder: StyleEncoder,
        code_diffuser: CodeDiffuser | None,
        scheduler: CodeDiffusionScheduler | None,
        prior: StyleGAN2Generator,
        restorer: RestoreAutoEncoder,
        identity_encoder: IdentityEncoder | ArcFaceEncoder | None = None,
        fidelity: float = 0.0,
        self_ensemble: bool = False,
    ) -> None:
        super().__init__()
        if code_diffuser is not None and scheduler is None:
            raise ValueError(
                "a code diffuser needs the scheduler of its denoising steps: pass scheduler too."
            )
        check_fidelity(fidelity)
        check_self_ensemble(self_ensemble)
        self.register_modules(
            style_encoder=style_encoder,
            code_diffuser=code_diffuser,
            scheduler=scheduler,
            prior=prior,
            restorer=restorer,
            identity_encoder=identity_encoder,
        )
        self.register_to_config(fidelity=fidelity, self_ensemble=self_ensemble)
        for network in (style_encoder, prior, restorer, identity_encoder):
            if isinstance(network, torch.nn.Module):
                to_channels_last(network)

    def check_inputs(
        self,
        fidelity: float | None,
        self_ensemble: bool | None,
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
        if fidelity is not None:
            check_fidelity(fidelity)
        if self_ensemble is not None:
            check_self_ensemble(self_ensemble)
        self.check_counts(num_images=num_images, max_batch_size=max_batch_size)
        if not min_face_size >= 0:
            what = "{argument} is {value!r}; it must be a number of pixels, 0 or more."
            raise Refusal("setting", what, argument=Argument("min_face_size"), value=min_face_size)
        check_output_type(output_type)
        self.check_callback_inputs(callback_on_step_end_tensor_inputs)

    @torch.inference_mode()
    def __call__(
        self,
        image: ImageInput | Sequence[ImageInput],
        *,
        fidelity: float | None = None,
        self_ensemble: bool | None = None,
        scale: int | None = None,
        background: Background | BackgroundUpscaler | None = None,
        aligned: bool = False,
        faces: str | Sequence[int] = "all",
        min_face_size: float = 32.0,
        detector: str | Detector | None = None,
        known_faces: Sequence[Sequence[Face]] | None = None,
        num_images: int = 1,
        num_inference_steps: int | None = None,
        return_aligned: bool = False,
        truth: ImageInput | Sequence[ImageInput] | None = None,
        generator: Generators = None,
        latents: torch.Tensor | None = None,
        z: torch.Tensor | None = None,
        watermark: bool = False,
        max_batch_size: int = 4,
        max_pixels: int | None = MAX_PIXELS,
        output_type: OutputType = "pil",
        return_dict: bool = True,
        callback_on_step_end: StepCallback | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
    ) -> FaceRestoreOutput | AsTuple:
        """Restore the faces of one photo or several. Pixels outside the faces come back bit-identical.

        A photo without colours, gray or toned as sepia is, comes back without (`facekit.images.tint`).

        Args:
            image: what `facekit.images.photo.load_image` takes, one or a list.
            aligned: the photos are aligned faces already, of any size: no detection, no pasting. One that is not square
                is continued by reflection, with a note.
            faces: which faces to restore: "all", "largest" or indices from left to right.
            detector: detector name or object for `facekit.faces.detect_faces`; None is the bundled one.
            known_faces: for each photo all its faces, if they were found before; then no photo is searched.
            min_face_size: smaller faces are left as they are, with a note; pixels, shorter side of the box.
            fidelity: share, 0 to 1, of the difference between input and restored face, averaged over 16 x 16 cells,
                that is added back. At 0 the picture is the network's own; at 1 its coarse structure (place, shape,
                shading and colour of the features) is the input's and the network gives the detail. As it
                rises the result moves towards the input, and identity similarity with it. None: as the model's
                configuration says (0, the thesis's I_out, for published weights; 0.5 for the bundled starter).
            self_ensemble: restore the mirror image of each face too, from the same random numbers, and average both
                (geometric self-ensemble: Lim et al., Enhanced deep residual networks for single image
                super-resolution, 2017). What the network made up differs and fades, what it saw stays: truer and
                softer, for twice the time. None: as the model's configuration says (False for published weights).
            num_inference_steps: denoising steps; None is the number the diffuser was trained with (4). A model
                without a code diffuser takes none.
            num_images: candidates for each photo, from different random codes.
            generator: source of all randomness; a list has one for each photo. Results for a seed depend
                neither on the batch nor on the device.
            latents: starting codes x_T `[N, n, D]` instead of random ones, N = faces times `num_images`, in
                the order photo, candidate, face. For models with a code diffuser alone.
            z: random style `[N, D]` of the restorer instead of a drawn one, in the same order.
            scale: enlarge the photos so many times; the faces are pasted into the large photo, sharp. None: 1, or with
                a `background` as much as that enlarges by itself.
            background: what enlarges all that is around the faces in place of cubic interpolation: a
                `BackgroundUpscaler`, whose result is brought to `scale` (at 1 it is sharpened), or a function that gets
                each photo's colours `[H, W, 3]` (own depth) and returns them enlarged by one factor.
            return_aligned: also return the aligned faces before and after, and the style prompts.
            truth: with `return_aligned`, the undamaged photo, or one for each, where it is known: its faces are cut
                where those of the damaged one lie, and returned with what the prior makes of their own codes.
            watermark: mark the changed pixels invisibly, see `facekit.provenance.watermark`.
            max_batch_size: largest number of faces the networks see at once.
            max_pixels: refuse larger photos before they are decoded, and larger results; None lifts the limit.
            output_type: "pil", "photo", "np" or "pt", see `FaceRestoreOutput`.
            return_dict: False gives a tuple of the output's entries that are not None.
            callback_on_step_end: called as `f(pipeline, step, timestep, tensors)` after each denoising step;
                it may return a dict with new "latents". Setting `pipeline.interrupt = True` in it ends the denoising
                there. It has no part in the mirror images of
                `self_ensemble`, whose codes stay as they are: pass False where it changes codes. An interrupted call
                makes none.
            callback_on_step_end_tensor_inputs: which of "latents" (codes so far) and "style_codes" (those of
                the damaged faces), both `[N, n, D]`, the callback receives.

        Raises:
            FileNotFoundError: a photo does not exist.
            TypeError: a photo of an unknown kind.
            ValueError: bad settings, a photo that cannot be used (see `load_image`), a face index that a photo
                does not have, or `latents` or `z` of another shape.
        """
        # 1. Check the settings
        self.check_inputs(
            fidelity,
            self_ensemble,
            num_images,
            max_batch_size,
            min_face_size,
            output_type,
            callback_on_step_end_tensor_inputs,
        )
        device = self._execution_device
        self.interrupt = False
        if latents is not None and self.code_diffuser is None:
            raise Refusal("setting", WITHOUT_DIFFUSER, argument=Argument("latents"))
        if truth is not None and not return_aligned:
            raise Refusal(
                "setting",
                "{truth} is shown beside the aligned faces, which were not asked for",
                "Pass {aligned} too",
                truth=Argument("truth"),
                aligned=Argument("return_aligned", True),
            )
        enlarge = plan_background(background, scale)
        if aligned and (scale not in (None, 1) or isinstance(background, BackgroundUpscaler)):
            raise Refusal(
                "setting",
                "{argument} enlarges what is around the faces; with {aligned} there is nothing around.",
                argument=Argument("background" if scale in (None, 1) else "scale"),
                aligned=Argument("aligned", True),
            )
        scheduler = self.plan_steps(num_inference_steps, device)

        # 2. Read the photos; whatever is wrong with them shows here
        photos = load_images(image, max_pixels=max_pixels)
        if isinstance(background, BackgroundUpscaler):
            scale = background.scale if scale is None else scale
        if max_pixels is not None and scale is not None:
            check_enlarged(photos, scale, max_pixels)
        generator = check_generators(generator, len(photos))

        # 3. Find and align the faces
        jobs = [
            plan_restoration(
                photo,
                sample_size=self.restorer.config.sample_size,
                aligned=aligned,
                faces=faces,
                detector=detector,
                known_faces=found,
                min_face_size=min_face_size,
                enlarges=enlarge is not None,
            )
            for photo, found in zip(photos, check_known_faces(known_faces, len(photos)), strict=True)
        ]
        truths = [] if truth is None else self._plan_truths(truth, jobs, aligned, max_pixels)
        inputs = [square.image for job in jobs for square in job.squares]
        order = SampleOrder.of([len(job.squares) for job in jobs], num_images)
        sources = order.sources

        # 4. Settle all randomness
        codes_shape = (len(order), self.style_encoder.config.num_styles, self.style_encoder.config.style_dim)
        z_shape = (len(order), self.restorer.config.style_dim)
        self.check_shape(latents, codes_shape, "latents")
        self.check_shape(z, z_shape, "z")
        generators = split_generators(generator, order.owners)
        # Drawn in any case, so that what is drawn afterwards does not depend on what was given.
        drawn, drawn_z = self.draw_noise(codes_shape, generators), self.draw_noise(z_shape, generators)
        latents = drawn if latents is None else latents.to(device, torch.float32)
        z = drawn_z if z is None else z.to(device, torch.float32)

        restored: list[np.ndarray] = []
        prompts: list[list[np.ndarray]] = []
        true_prompts: list[np.ndarray] = []
        similarities: list[float] = []
        if inputs:
            # 5. Encode the faces, denoise codes under theirs, restore
            damaged, _ = self.make_batch(jobs)
            result, history = self._restore_faces(
                damaged,
                sources,
                latents,
                z,
                generators,
                scheduler,
                fidelity=fidelity,
                self_ensemble=self_ensemble,
                max_batch_size=max_batch_size,
                callback=callback_on_step_end,
                callback_inputs=callback_on_step_end_tensor_inputs,
            )

            # 6. Measure how similar the faces are to the given ones
            identity, samples = self.identity_encoder, damaged[sources]
            if identity is not None:
                similarities = run_in_parts(
                    lambda part: identity.similarity(
                        samples[part].to(identity.dtype), result[part].to(identity.dtype)
                    ),
                    len(order),
                    max_batch_size,
                ).tolist()
            if return_aligned:
                prompts = [self._draw_prompts(step, max_batch_size) for step in history]
            if truths:
                true_codes = self._encode(self.make_batch(truths)[0], max_batch_size)
                true_prompts = self._draw_prompts(true_codes, max_batch_size)
            tints = [tint for job in jobs for tint in job.tints]
            restored = to_pictures(result, [tints[source] for source in sources])

        # 7. Put the faces back into the photos
        results = list(order.results())
        extras: dict[str, Any] = {}
        if self.identity_encoder is not None:
            extras["similarities"] = [similarities[part] for _, part in results]
        if return_aligned:
            shown = [inputs[source] for source in sources]
            steps = [
                deliver_squares([step[index] for step in prompts], output_type) for index in range(len(order))
            ]
            for name, pictures in (("aligned_inputs", shown), ("aligned_outputs", restored)):
                extras[name] = [
                    deliver_squares(pictures[part], output_type, jobs[photo].photo) for photo, part in results
                ]
            extras["style_prompts"] = [steps[part] for _, part in results]
        if truths:
            shown = [square.image for job in truths for square in job.squares]
            for name, pictures in (("aligned_truths", shown), ("truth_prompts", true_prompts)):
                own = [pictures[source] for source in sources]
                extras[name] = [
                    deliver_squares(own[part], output_type, jobs[photo].photo) for photo, part in results
                ]
        images: list[Photo] = []
        for photo, candidates in groupby(results, key=lambda result: result[0]):
            job = jobs[photo]
            # One for all candidates: a network takes minutes for it.
            large = None if enlarge is None or aligned else enlarge(job.photo.rgb)
            images += [job.paste(restored[part], large, watermark) for _, part in candidates]
        output = FaceRestoreOutput(
            images=deliver(images, output_type),
            faces=[job.faces for job in jobs],
            notes=self.collect_notes(jobs, output_type),
            **extras,
        )

        # 8. Let go of the device
        self.maybe_free_model_hooks()
        return output if return_dict else output.to_tuple()

    def plan_steps(
        self, num_inference_steps: int | None, device: torch.device | str | None = None
    ) -> CodeDiffusionScheduler | None:
        """The denoising steps of one call; None for a model without a code diffuser.

        Raises:
            ValueError: more steps than the diffuser was trained with, or some for a model that takes none.
        """
        if self.code_diffuser is None or self.scheduler is None:
            if num_inference_steps is not None:
                raise Refusal("setting", WITHOUT_DIFFUSER, argument=Argument("num_inference_steps"))
            return None
        # The call's own: other threads may ask for another number at the same time.
        scheduler = copy.copy(self.scheduler)
        scheduler.set_timesteps(num_inference_steps, device=device)
        return scheduler

    def _plan_truths(
        self,
        truth: ImageInput | Sequence[ImageInput],
        jobs: list[PhotoJob],
        aligned: bool,
        max_pixels: int | None,
    ) -> list[PhotoJob]:
        """The undamaged photos, cut where the damaged ones' faces lie. Raises ValueError where they do not fit."""
        truths = load_images(truth, max_pixels=max_pixels, name="truth")
        if len(truths) != len(jobs):
            raise ValueError(f"{len(truths)} truths for {len(jobs)} photos. Pass one for each.")
        for photo, job in zip(truths, jobs, strict=True):
            if photo.size != job.photo.size and not aligned:
                (width, height), (own_width, own_height) = photo.size, job.photo.size
                raise ValueError(
                    f"{photo.name} is {width}x{height} and the photo that was damaged {own_width}x{own_height}. "
                    "Pass the undamaged photo in the size of the damaged one."
                )
        return [
            plan_restoration(
                photo,
                sample_size=self.restorer.config.sample_size,
                aligned=aligned,
                faces="all",
                detector=None,
                known_faces=job.faces,
                min_face_size=0,
                enlarges=False,
            )
            for photo, job in zip(truths, jobs, strict=True)
        ]

    def _encode(self, faces: torch.Tensor, max_batch_size: int) -> torch.Tensor:
        """Faces `[N, 3, S, S]` -> codes `[N, n, D]` float32."""
        return run_in_parts(lambda part: self.style_encoder(faces[part]).float(), len(faces), max_batch_size)

    @torch.inference_mode()
    def restore_batch(
        self,
        damaged: torch.Tensor,
        generators: list[torch.Generator],
        fidelity: float | None = None,
        max_batch_size: int = 4,
        self_ensemble: bool | None = None,
    ) -> torch.Tensor:
        """Restore a batch of aligned faces, with no photo around them: the networks' part of a call.

        Args:
            damaged: `[N, 3, S, S]` in [-1, 1], of any size S.
            generators: sources of randomness, one for each face.
            fidelity, max_batch_size, self_ensemble: as in the call.

        Returns:
            `[N, 3, S, S]` in [-1, 1]; gray faces may have got colours.

        Raises:
            ValueError: as the call does for these arguments.
        """
        if fidelity is not None:
            check_fidelity(fidelity)
        if self_ensemble is not None:
            check_self_ensemble(self_ensemble)
        self.check_counts(max_batch_size=max_batch_size)
        self.interrupt = False
        device, side, size = self._execution_device, damaged.shape[-1], self.restorer.config.sample_size
        samples = scale_faces(damaged.to(device, torch.float32), size)
        config = self.style_encoder.config
        shapes = (
            (len(samples), config.num_styles, config.style_dim),
            (len(samples), self.restorer.config.style_dim),
        )
        latents, z = (self.draw_noise(shape, generators) for shape in shapes)
        restored, _ = self._restore_faces(
            samples,
            list(range(len(samples))),
            latents,
            z,
            generators,
            self.plan_steps(None, device),
            fidelity=fidelity,
            self_ensemble=self_ensemble,
            max_batch_size=max_batch_size,
        )
        self.maybe_free_model_hooks()
        return scale_faces(restored, side).to(damaged.device)

    def _restore_faces(
        self,
        faces: torch.Tensor,
        sources: list[int],
        latents: torch.Tensor,
        z: torch.Tensor,
        generators: list[torch.Generator],
        scheduler: CodeDiffusionScheduler | None,
        *,
        fidelity: float | None,
        self_ensemble: bool | None,
        max_batch_size: int,
        callback: StepCallback | None = None,
        callback_inputs: Sequence[str] = (),
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Faces `[N, 3, S, S]`, each encoded once -> restored samples, and their codes after each denoising step.

        `sources` has the face of each sample; `latents`, `z` and `generators` have a row for each. The rest is as in
        the call.
        """
        share = self.config["fidelity"] if fidelity is None else fidelity
        averages = self.config["self_ensemble"] if self_ensemble is None else self_ensemble
        steps = 0 if scheduler is None or self.code_diffuser is None else len(scheduler.timesteps)

        def restore(
            faces: torch.Tensor,
            generators: list[torch.Generator],
            callback: StepCallback | None,
            progress_bar: tqdm,
        ) -> tuple[torch.Tensor, list[torch.Tensor]]:
            codes = self._encode(faces, max_batch_size)[sources]
            history = self._denoise(
                scheduler, latents, codes, generators, callback, callback_inputs, progress_bar
            )
            samples = faces[sources]
            predicted = self._restore_all(samples, history[-1], z, generators, max_batch_size)
            return keep_coarse_structure(predicted, samples, share).clamp(-1, 1), history

        # Copies: both passes draw the same numbers, and what is drawn afterwards is as after one pass.
        copies = [_copy(generator) for generator in generators] if averages else []
        total = steps * (2 if averages else 1)
        with self.progress_bar(total=total) if total else tqdm(disable=True) as progress_bar:
            restored, history = restore(faces, generators, callback, progress_bar)
            if averages and not self.interrupt:
                mirrored, _ = restore(faces.flip(-1), copies, None, progress_bar)
                if not self.interrupt:  # which leaves the codes noisy
                    restored = (restored + mirrored.flip(-1)) / 2
        return restored, history

    def _denoise(
        self,
        scheduler: CodeDiffusionScheduler | None,
        noise: torch.Tensor,
        codes: torch.Tensor,
        generators: list[torch.Generator],
        callback: StepCallback | None,
        callback_inputs: Sequence[str],
        progress_bar: tqdm,
    ) -> list[torch.Tensor]:
        """Codes `[N, n, D]` after every denoising step; without a code diffuser those of the faces themselves."""
        code_diffuser, history = self.code_diffuser, []
        if code_diffuser is None or scheduler is None:
            return [codes]
        latents = noise * scheduler.init_noise_sigma
        for step, timestep in enumerate(scheduler.timesteps):
            predicted = code_diffuser(latents, timestep, codes).float()
            latents = scheduler.step(predicted, timestep, latents, generators).prev_sample
            tensors = {"latents": latents, "style_codes": codes}
            changed = self.call_back(callback, callback_inputs, step, int(timestep), **tensors)
            latents = changed.get("latents", latents)
            history.append(latents)
            progress_bar.update()
            if self.interrupt:
                break
        return history

    def _restore_all(
        self,
        damaged: torch.Tensor,
        codes: torch.Tensor,
        z: torch.Tensor,
        generators: list[torch.Generator],
        max_batch_size: int,
    ) -> torch.Tensor:
        """What the restorer makes of all faces `[N, 3, S, S]`, in parts; not clamped, but finite."""
        predicted = run_in_parts(
            lambda part: self._restore(damaged[part], codes[part], z[part], generators[part]),
            len(damaged),
            max_batch_size,
        )
        self.check_finite(predicted, self.restorer.dtype)
        return predicted

    def _restore(
        self, damaged: torch.Tensor, codes: torch.Tensor, z: torch.Tensor, generators: list[torch.Generator]
    ) -> torch.Tensor:
        """Damaged faces `[B, 3, S, S]` -> restored ones, float32, not clamped."""
        dtype = self.restorer.dtype
        features = None
        if self.restorer.config.use_prior_features:
            # The 1024-pixel level is not needed, nor is the second half of the last one in the published form.
            _, features, _ = self.prior(
                w_plus=codes.to(self.prior.dtype),
                stop_at=self.restorer.num_levels,
                feature_layer=self.restorer.feature_layer,
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

    def _draw_prompts(self, codes: torch.Tensor, max_batch_size: int) -> list[np.ndarray]:
        """Let the prior draw pictures of codes `[N, n, D]` at the restorer's size, with the prior's stored noise."""
        return draw_inversions(self.prior, codes, self.restorer.config.sample_size, max_batch_size)


def _copy(generator: torch.Generator) -> torch.Generator:
    copy = torch.Generator(generator.device)
    copy.set_state(generator.get_state())
    return copy


def check_self_ensemble(self_ensemble: bool) -> None:
    """Raise ValueError unless it is True or False (or 1 or 0)."""
    if self_ensemble not in (True, False):
        what = "{argument} is {value!r}; it must be True or False."
        raise Refusal("setting", what, argument=Argument("self_ensemble"), value=self_ensemble)


def check_fidelity(fidelity: float) -> None:
    """Raise ValueError unless it is a share, 0 to 1."""
    if not isinstance(fidelity, int | float) or not 0 <= fidelity <= 1:
        what = (
            "{argument} is {value!r}; it must lie between 0 (the network's picture) and 1 (the input's coarse "
            "structure)."
        )
        raise Refusal("setting", what, argument=Argument("fidelity"), value=fidelity)


def check_enlarged(photos: Sequence[Photo], scale: int, max_pixels: int) -> None:
    """Raise ValueError where an enlarged photo would have more pixels than a photo may have."""
    for photo in photos:
        width, height = (side * scale for side in photo.size)
        if width * height > max_pixels:
            raise Refusal(
                "too-large",
                "{name} would be {width}x{height}; the limit is {most:,} pixels",
                "Enlarge it less, or raise {limit}",
                otherwise="Enlarge it less",
                name=photo.name,
                width=width,
                height=height,
                most=max_pixels,
                limit=Argument("max_pixels"),
            )


def keep_coarse_structure(restored: torch.Tensor, damaged: torch.Tensor, fidelity: float) -> torch.Tensor:
    """Add `fidelity` (0 to 1) times the difference damaged - restored `[B, 3, S, S]`, averaged over 16 x 16 cells."""
    return restored if fidelity == 0 else restored + fidelity * coarse_difference(restored, damaged)


def scale_faces(faces: torch.Tensor, side: int) -> torch.Tensor:
    """Faces `[N, 3, S, S]` at another side, smoothly."""
    if faces.shape[-1] == side:
        return faces
    return F.interpolate(faces, (side, side), mode="bicubic", antialias=True).clamp(-1, 1)


def coarse_difference(restored: torch.Tensor, damaged: torch.Tensor) -> torch.Tensor:
    """The difference damaged - restored `[B, 3, S, S]`, averaged over 16 x 16 cells and smoothly enlarged again."""
    coarse = F.adaptive_avg_pool2d(damaged - restored, FIDELITY_CELLS)
    return F.interpolate(coarse, restored.shape[-2:], mode="bicubic", align_corners=False)
