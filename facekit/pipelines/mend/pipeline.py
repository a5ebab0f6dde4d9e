"""`PhotoMendPipeline`: an old photo's damage is found and filled, its faces restored, its contrast brought back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import numpy as np
import torch
from diffusers.utils import BaseOutput

from facekit.faces.detect import Detector, Face
from facekit.faces.selection import check_selection, select_faces
from facekit.images.masks import MaskInput, assign_to_photos, format_share, load_mask
from facekit.images.photo import MAX_PIXELS, ImageInput, Photo, as_uint8, load_images, same_pixels
from facekit.images.tensors import OutputType, Pictures, check_output_type, deliver, expect_kind
from facekit.images.tint import find_tint
from facekit.models.damage_finder import DamageFinder
from facekit.notes import Argument, Note, Refusal
from facekit.pipelines.base import (
    AsTuple,
    FacekitPipeline,
    Generators,
    check_generators,
    check_known_faces,
    split_generators,
)
from facekit.pipelines.inpaint import FaceInpaintPipeline
from facekit.pipelines.mend.contrast import stretch_contrast
from facekit.pipelines.mend.fill import fill_damage
from facekit.pipelines.mend.find import find_damage, widen
from facekit.pipelines.mend.in_faces import damage_in_faces, find_faces
from facekit.pipelines.mend.parts import load_part, name_of
from facekit.pipelines.restore import FaceRestorePipeline, check_fidelity, check_self_ensemble
from facekit.provenance import add_watermark

MOST_DAMAGE = 0.5  # of the photo
Damage = Literal["find"] | MaskInput | None
# Told which step is at work, how many parts of it are done, and of how many.
Tell = Callable[[str, int, int], None]


@dataclass
class PhotoMendOutput(BaseOutput):
    """What `PhotoMendPipeline` returns.

    Attributes:
        images: the mended photos, in the form of `FaceInpaintOutput.images`.
        masks: for each photo what was filled, bool `[H, W]`; nothing is True where no damage was found or looked for.
        faces: for each photo the faces that were worked on, left to right.
        parts: for each photo the pipelines whose networks changed it, "inpaint" and "restore" or one or none of them.
        steps: with `return_steps`, for each photo its picture after each step that changed it, by the name of the step:
            "fill", "faces", "contrast". Else None.
        notes: remarks for the user, for example that no damage was found.
    """

    images: Pictures
    masks: list[np.ndarray] = field(default_factory=list)
    faces: list[list[Face]] = field(default_factory=list)
    parts: list[list[str]] = field(default_factory=list)
    steps: list[dict[str, Any]] | None = None
    notes: list[Note] = field(default_factory=list)


@dataclass
class _Work:
    """One photo on its way.

    Attributes:
        photo: as it came.
        hole: what is to be filled, bool `[H, W]`; None: it is still to be found.
        notes: remarks for the user.
        faces: those that are worked on.
        parts: the pipelines whose networks changed it.
        steps: its picture after each step that changed it.
    """

    photo: Photo
    hole: np.ndarray | None
    notes: list[Note]
    faces: list[Face] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)
    steps: dict[str, Photo] = field(default_factory=dict)

    @property
    def latest(self) -> Photo:
        """The photo after the steps so far."""
        return list(self.steps.values())[-1] if self.steps else self.photo


class PhotoMendPipeline(FacekitPipeline):
    """Mends old photos: finds scratches, folds, dust, torn edges and stains, fills them, and restores the faces.

    Faces are filled and restored by the pipelines `inpaint` and `restore`, wide damage in the rest of the photo by
    `inpaint` in tiles, thin damage there without a network.
    Where these are names, they are saved with the model as names, and loaded when a call first needs them.

    Args:
        damage_finder: marks what is damaged.
        inpaint: a `FaceInpaintPipeline`; or its name: a starter's, a folder, a Hub id, or "published".
        restore: a `FaceRestorePipeline`, or its name.
    """

    model_cpu_offload_seq = "damage_finder"

    damage_finder: DamageFinder

    def __init__(
        self,
        damage_finder: DamageFinder,
        inpaint: str | FaceInpaintPipeline = "face-inpaint",
        restore: str | FaceRestorePipeline = "face-restore",
    ) -> None:
        super().__init__()
        self.register_modules(damage_finder=damage_finder)
        self.register_to_config(
            inpaint=name_of(inpaint, "face-inpaint"), restore=name_of(restore, "face-restore")
        )
        self._parts: dict[str, FacekitPipeline] = {
            name: part
            for name, part in (("inpaint", inpaint), ("restore", restore))
            if isinstance(part, FacekitPipeline)
        }
        self._offload: tuple[str, dict[str, Any]] | None = None

    @property
    def components(self) -> dict[str, Any]:
        """The damage finder, and the two other pipelines, or their names where they are not loaded."""
        return super().components | self._parts

    @classmethod
    def from_pipe(cls, pipeline: Any, **kwargs: Any) -> Self:
        """See diffusers; the pipelines that this one calls are taken along."""
        return super().from_pipe(pipeline, **getattr(pipeline, "_parts", {}) | kwargs)

    @property
    def inpaint_pipeline(self) -> FaceInpaintPipeline:
        """What fills; loaded at the first request. Raises OSError, ValueError as `from_pretrained` does."""
        return self._part(FaceInpaintPipeline, "inpaint")

    @property
    def restore_pipeline(self) -> FaceRestorePipeline:
        """What restores faces; loaded at the first request. Raises OSError, ValueError as `from_pretrained` does."""
        return self._part(FaceRestorePipeline, "restore")

    def _part(self, kind: type[Any], name: str) -> Any:
        if name not in self._parts:
            part = load_part(kind, self.config[name], self.dtype, self.device)
            if self._offload is not None:
                method, options = self._offload
                getattr(part, method)(**options)
            self._parts[name] = part
        return self._parts[name]

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Move the networks, those of the pipelines that are loaded too; see `FacekitPipeline.to`."""
        for part in self._parts.values():
            part.to(*args, **kwargs)
        return super().to(*args, **kwargs)

    def enable_model_cpu_offload(
        self, gpu_id: int | None = None, device: torch.device | str | None = None
    ) -> None:
        """See diffusers; the pipelines that this one calls do the same."""
        super().enable_model_cpu_offload(gpu_id, device)  # type: ignore[arg-type]  # None is their default
        self._offload_parts("enable_model_cpu_offload", gpu_id=gpu_id, device=device)

    def enable_sequential_cpu_offload(
        self, gpu_id: int | None = None, device: torch.device | str | None = None
    ) -> None:
        """See `FacekitPipeline`; the pipelines that this one calls do the same."""
        super().enable_sequential_cpu_offload(gpu_id, device)
        self._offload_parts("enable_sequential_cpu_offload", gpu_id=gpu_id, device=device)

    def remove_all_hooks(self) -> None:
        """See diffusers; the pipelines that this one calls do the same."""
        super().remove_all_hooks()
        self._offload = None
        for part in self._parts.values():
            part.remove_all_hooks()

    def _offload_parts(self, method: str, **options: Any) -> None:
        self._offload = method, options
        for part in self._parts.values():
            getattr(part, method)(**options)

    def check_inputs(
        self,
        faces: str | Sequence[int],
        fidelity: float | None,
        self_ensemble: bool | None,
        contrast: float,
        num_inference_steps: int | None,
        max_batch_size: int,
        output_type: str,
    ) -> None:
        """Refuse settings that cannot work, before anything is loaded.

        Raises:
            ValueError: with the offending value and what would do.
        """
        check_selection(faces)
        if fidelity is not None:
            check_fidelity(fidelity)
        if self_ensemble is not None:
            check_self_ensemble(self_ensemble)
        if isinstance(contrast, bool) or not isinstance(contrast, int | float) or not 0 <= contrast <= 1:
            what = "{argument} is {value!r}; it must lie between 0 (as it is) and 1 (from black to white)."
            raise Refusal("setting", what, argument=Argument("contrast"), value=contrast)
        self.check_counts(max_batch_size=max_batch_size)
        self.check_optional_counts(num_inference_steps=num_inference_steps)
        check_output_type(output_type)

    @torch.inference_mode()
    def __call__(
        self,
        image: ImageInput | Sequence[ImageInput],
        *,
        damage: Damage | Sequence[Damage] = "find",
        restore_faces: bool = True,
        contrast: float = 0.0,
        fidelity: float | None = None,
        self_ensemble: bool | None = None,
        aligned: bool = False,
        faces: str | Sequence[int] = "all",
        detector: str | Detector | None = None,
        known_faces: Sequence[Sequence[Face]] | None = None,
        num_inference_steps: int | None = None,
        return_steps: bool = False,
        generator: Generators = None,
        watermark: bool = False,
        max_batch_size: int = 4,
        max_pixels: int | None = MAX_PIXELS,
        output_type: OutputType = "pil",
        return_dict: bool = True,
        tell: Tell | None = None,
    ) -> PhotoMendOutput | AsTuple:
        """Mend one photo or several; each is worked on by itself, and its result does not depend on the others.

        Without `contrast`, pixels outside the damage and the faces come back bit-identical. A photo without colours,
        gray or toned as sepia is, stays without (`facekit.images.tint`).

        Args:
            image: what `facekit.images.photo.load_image` takes, one or a list.
            damage: what is filled. "find": what the damage finder marks. A mask (what `facekit.images.masks.load_mask`
                takes, white is filled). None: nothing. One for all photos, or one for each.
            restore_faces: make the faces sharp.
            contrast: 0 to 1, how far the luminances are stretched over the range from black to white. A cast of colour
                stays.
            fidelity, self_ensemble: of the restored faces, see `FaceRestorePipeline`; None: as that model's
                configuration says.
            aligned: the photos are aligned faces already: no detection, the whole picture is one square.
            faces: which faces to fill and restore: "all", "largest" or indices from left to right; damage in others is
                filled as the rest of the photo.
            detector: detector name or object for `facekit.faces.detect_faces`; None is the bundled one.
            known_faces: for each photo all its faces, if they were found before; then no photo is searched.
            num_inference_steps: reasoning steps of the fill; None: as the inpainting model's configuration says.
            return_steps: also return the picture after each step.
            generator: source of all randomness; a list has one for each photo.
            watermark: mark the changed pixels invisibly, see `facekit.provenance.watermark`.
            max_batch_size: largest number of squares the networks see at once.
            max_pixels: refuse larger photos before they are decoded; None lifts the limit.
            output_type: "pil", "photo", "np" or "pt", see `PhotoMendOutput`.
            return_dict: False gives a tuple of the output's entries that are not None.
            tell: is told how far the work on a photo is: called with "find", "fill", "faces" or "contrast", how many
                parts of that step are done, and of how many.

        Raises:
            FileNotFoundError: a photo or mask does not exist.
            TypeError: a photo or mask of an unknown kind.
            OSError, ValueError: `inpaint` or `restore` cannot be loaded.
            ValueError: bad settings; a photo or mask that cannot be used (see `load_image`, `load_mask`); a mask that
                covers more than half of its photo; a face index that a photo does not have.
        """
        # 1. Check the settings
        self.check_inputs(
            faces, fidelity, self_ensemble, contrast, num_inference_steps, max_batch_size, output_type
        )

        # 2. Read photos and masks; whatever is wrong with them shows here
        photos = load_images(image, max_pixels=max_pixels)
        checked = check_generators(generator, len(photos))
        found_before = check_known_faces(known_faces, len(photos))
        works = [
            _read_damage(photo, name, given, max_pixels)
            for photo, (name, given) in zip(
                photos, assign_to_photos(damage, len(photos), "mask", "masks of damage"), strict=True
            )
        ]
        if any(work.hole is None or work.hole.any() for work in works):
            _ = self.inpaint_pipeline
        if restore_faces:
            _ = self.restore_pipeline
        sources = split_generators(checked, list(range(len(photos))))

        # 3. Mend one after the other, so that the memory is that of one photo
        for work, source, known in zip(works, sources, found_before, strict=True):
            hole = self._find(work, tell)
            if not aligned and (hole.any() or restore_faces):
                everyone = find_faces(work.photo, hole, detector) if known is None else list(known)
                work.faces = sorted(select_faces(everyone, faces), key=lambda face: face.index)
            options = {"generator": source, "max_batch_size": max_batch_size, "output_type": "photo"}
            if hole.any():
                work.steps["fill"] = self._fill(
                    work, hole, tell, aligned=aligned, num_inference_steps=num_inference_steps, **options
                )
            if restore_faces:
                wishes = {"fidelity": fidelity, "self_ensemble": self_ensemble}
                self._restore(work, tell, aligned=aligned, **wishes, **options)
            if contrast > 0:
                _tell(tell, "contrast", 0, 1)
                work.steps["contrast"] = _stretch(work.latest, contrast, hole)
            if watermark:
                work.steps = {name: add_watermark(step, work.photo) for name, step in work.steps.items()}
            if not return_steps:
                work.steps = {"": work.latest}

        # 4. Deliver
        output = PhotoMendOutput(
            images=deliver([work.latest for work in works], output_type),
            masks=[work.hole for work in works if work.hole is not None],
            faces=[work.faces for work in works],
            parts=[work.parts for work in works],
            steps=[_deliver_steps(work.steps, output_type) for work in works] if return_steps else None,
            notes=_collect_notes(works, output_type),
        )
        self.maybe_free_model_hooks()
        return output if return_dict else output.to_tuple()

    def find_damage(self, image: ImageInput, *, max_pixels: int | None = MAX_PIXELS) -> np.ndarray:
        """What the damage finder marks in one photo, with the margin that is filled too; bool `[H, W]`.

        Args:
            image: what `facekit.images.photo.load_image` takes.
            max_pixels: refuse larger photos before they are decoded; None lifts the limit.
        """
        (photo,) = load_images([image], max_pixels=max_pixels)
        found = find_damage(self.damage_finder, as_uint8(photo.rgb), self._execution_device)
        self.maybe_free_model_hooks()
        return widen(found) if found.any() else found

    def _find(self, work: _Work, tell: Tell | None) -> np.ndarray:
        """What is to be filled in a photo, bool `[H, W]`, looked for where it is not known."""
        if work.hole is not None:
            return work.hole
        _tell(tell, "find", 0, 1)
        work.hole = self.find_damage(work.photo, max_pixels=None)
        if not work.hole.any():
            work.notes.append(Note("damage-none", "no damage was found: nothing is filled"))
        elif work.hole.mean() > MOST_DAMAGE:
            work.notes.append(
                Note(
                    "damage-too-large",
                    "{share} of the photo looks damaged, which is too much to fill: nothing is filled",
                    "Give a mask of the damage: {damage}",
                    otherwise="Give a mask of the damage",
                    share=format_share(work.hole.mean()),
                    damage=Argument("damage"),
                )
            )
            work.hole[:] = False
        return work.hole

    def _fill(
        self,
        work: _Work,
        hole: np.ndarray,
        tell: Tell | None,
        *,
        aligned: bool,
        num_inference_steps: int | None,
        **options: Any,
    ) -> Photo:
        """The photo with its hole filled, in faces by what is known of faces."""
        inpaint = self.inpaint_pipeline
        options["num_inference_steps"] = num_inference_steps
        if aligned:
            work.parts.append("inpaint")
            output = inpaint(work.photo, hole, aligned=True, max_pixels=None, **options)
            (filled,) = expect_kind(output.images, Photo)
            return filled
        network = inpaint.residual_inpainter.config.sample_size
        in_faces = damage_in_faces(work.photo, hole, work.faces, network)
        options.pop("output_type")
        _tell(tell, "fill", 0, 1)
        filled, by_network = fill_damage(
            inpaint,
            work.photo,
            hole,
            hole & ~in_faces,
            **options,
            tell=lambda done, total: _tell(tell, "fill", done, total),
        )
        if by_network or in_faces.any():
            work.parts.append("inpaint")
        if in_faces.any():
            output = inpaint(
                filled, in_faces, known_faces=[work.faces], output_type="photo", max_pixels=None, **options
            )
            (filled,) = expect_kind(output.images, Photo)
        return filled

    def _restore(self, work: _Work, tell: Tell | None, *, aligned: bool, **options: Any) -> None:
        """Restore the faces of a photo."""
        if not aligned and not work.faces:
            work.notes.append(
                Note(
                    "no-face",
                    "no face was found: none is restored",
                    "For a picture that is one aligned face pass {aligned}",
                    aligned=Argument("aligned", True),
                )
            )
            return
        _tell(tell, "faces", 0, 1)
        found = None if aligned else [work.faces]
        output = self.restore_pipeline(
            work.latest, aligned=aligned, known_faces=found, max_pixels=None, **options
        )
        (restored,) = expect_kind(output.images, Photo)
        if not same_pixels(restored, work.latest):
            work.steps["faces"] = restored
            work.parts.append("restore")
        work.notes += [note for note in output.notes if note not in work.photo.notes]


def _read_damage(photo: Photo, name: str, given: Damage, max_pixels: int | None) -> _Work:
    """A photo and what is to be filled in it. Raises as `load_mask`, and ValueError for a mask of more than half."""
    if isinstance(given, str) and given == "find":
        return _Work(photo, None, [])
    if given is None:
        return _Work(photo, np.zeros(photo.pixels.shape[:2], dtype=bool), [])
    hole, notes = load_mask(given, photo.size, name=name, max_pixels=max_pixels)
    if hole.mean() > MOST_DAMAGE:
        raise Refusal(
            "damage-too-large",
            "the mask covers {share} of the photo; white is filled, and from less than half of a photo the rest cannot "
            "be told",
            "Mark only what is damaged, or invert the mask if the reverse was meant",
            photo.name,
            share=format_share(hole.mean()),
        )
    if not hole.any():
        notes = [*notes, Note("mask-empty", "the mask is empty: nothing is filled")]
    return _Work(photo, hole, notes)


def _stretch(photo: Photo, contrast: float, hole: np.ndarray) -> Photo:
    """The photo with its luminances stretched; what was filled does not judge the range."""
    seen = photo.find_visible()
    return photo.recolor(stretch_contrast(photo.rgb, contrast, find_tint(photo), seen & ~hole), seen)


def _deliver_steps(steps: dict[str, Photo], output_type: str) -> dict[str, Any]:
    return {name: deliver([photo], output_type)[0] for name, photo in steps.items()}


def _collect_notes(works: Sequence[_Work], output_type: str) -> list[Note]:
    """The notes of all photos, with the photos' names in front when there are several."""
    collected = []
    for place, work in enumerate(works):
        notes = [*work.photo.collect_notes(output_type), *work.notes]
        collected += [note.about(work.photo.name, place) for note in notes] if len(works) > 1 else notes
    return collected


def _tell(tell: Tell | None, step: str, done: int, total: int) -> None:
    if tell is not None:
        tell(step, done, total)
