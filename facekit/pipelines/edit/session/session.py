"""`EditSession`: one photo, edit after edit, with undo, redo, and a file that holds it all."""

import json
import math
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from facekit.conditions.color import read_color
from facekit.conditions.semantics import SemanticsInput, read_semantics
from facekit.conditions.sketch import read_sketches
from facekit.faces import Face, detect_faces
from facekit.faces.references import ReferenceFace, find_references
from facekit.images.masks import MaskInput, load_mask
from facekit.images.photo import MAX_PIXELS, ImageInput, Photo, as_uint8, load_image, load_images
from facekit.images.tensors import OutputType, check_output_type, deliver, expect_kind
from facekit.notes import Argument, Note, Refusal
from facekit.pipelines.edit.cache import CACHE_BYTES, EditCache, digest
from facekit.pipelines.edit.session.pasting import check_place, cut_out, paste_object, rim_of
from facekit.pipelines.edit.session.record import (
    EditStep,
    Patch,
    describe_face,
    describe_photo,
    describe_step,
    face_from,
    photo_from,
    step_from,
)
from facekit.pipelines.edit.session.script import RIM_WORD, check_edits, check_settings
from facekit.pipelines.edit.session.store import MAX_BYTES, read_session, write_session
from facekit.pipelines.edit.settings import FRONT, SELF, FaceEditOutput

if TYPE_CHECKING:
    from facekit.pipelines.edit.pipeline import FaceEditPipeline


class EditSession:
    """Edits one photo step by step; every pixel outside the masks of all edits stays as it was.

    Faces are found once. What the networks make of the masked photo, of guidance and of references is kept, so that
    an edit that repeats some of it computes only what changed.

    Args:
        pipeline: a `FaceEditPipeline`; None for a session that only keeps edits that were made elsewhere, see `take`.
        image: what `facekit.images.photo.load_image` takes.
        aligned: the photo is one aligned face: no detection.
        detector: detector name or object for `facekit.faces.detect_faces`; None is the bundled one.
        max_pixels: refuse larger pictures before they are decoded; None lifts the limit.
        cache_bytes: how many bytes of encodings to keep.
        faces: those of the photo, where they are known already; None looks for them.

    Raises:
        FileNotFoundError, TypeError, ValueError: the photo cannot be used (see `load_image`), or shows no face.
    """

    def __init__(
        self,
        pipeline: "FaceEditPipeline | None",
        image: ImageInput,
        *,
        aligned: bool = False,
        detector: Any = None,
        max_pixels: int | None = MAX_PIXELS,
        cache_bytes: int = CACHE_BYTES,
        faces: Sequence[Face] | None = None,
    ) -> None:
        self.pipeline, self.aligned, self.max_pixels = pipeline, aligned, max_pixels
        self.original = load_image(image, max_pixels=max_pixels)
        self.photo, self.cache = self.original, EditCache(cache_bytes)
        self.steps: list[EditStep] = []
        self.position = 0
        self._references: dict[bytes, ReferenceFace] = {}
        self.faces: list[Face] = []
        if not aligned:
            rgb = as_uint8(self.original.rgb)
            self.faces = list(detect_faces(rgb, detector=detector) if faces is None else faces)
            if not self.faces:
                raise Refusal(
                    "no-face",
                    "no face was found",
                    "Pass {aligned} where the whole picture is one aligned face",
                    self.original.name,
                    aligned=Argument("aligned", True),
                )

    @property
    def image(self) -> Image.Image:
        """The photo as it is now."""
        return self.photo.to_pil()

    @property
    def history(self) -> list[EditStep]:
        """The edits that are in effect, first to last."""
        return self.steps[: self.position]

    @property
    def can_undo(self) -> bool:
        """Whether there is an edit to take back."""
        return self.position > 0

    @property
    def can_redo(self) -> bool:
        """Whether an edit was taken back."""
        return self.position < len(self.steps)

    def edit(
        self,
        mask: MaskInput,
        *,
        sketch: MaskInput | None = None,
        semantics: SemanticsInput | None = None,
        color: ImageInput | None = None,
        exemplar: ImageInput | ReferenceFace | None = None,
        pose_from: ImageInput | ReferenceFace | None = None,
        seed: int | None = None,
        choice: int = 0,
        text_guide: Any = None,
        restore_with: Any = None,
        return_inversions: bool = False,
        callback_on_step_end: Callable[..., Any] | None = None,
        output_type: OutputType = "pil",
        **settings: Any,
    ) -> FaceEditOutput:
        """Edit the photo as it is now; edits that were taken back are forgotten.

        Args:
            mask, sketch, semantics, color, exemplar, pose_from: as in the pipeline's call, one of each. The mask "rim"
                is the rim of what was pasted last, see `rim`.
            seed: of all randomness; None draws one, which the history keeps.
            choice: which of `num_images` candidates to take; `choose` takes another one later.
            text_guide, restore_with, return_inversions, callback_on_step_end, output_type: as in the pipeline's call;
                not kept, so that a replay is given them anew. The history says that an edit was `restored`.
            settings: further arguments of the pipeline's call, those of
                `facekit.pipelines.edit.session.script.SETTINGS`.

        Returns:
            All candidates.

        Raises:
            FileNotFoundError, TypeError, ValueError: as the pipeline's call does. The session is as before.
            ValueError: the session has no pipeline.
        """
        check_output_type(output_type)
        if self.pipeline is None:
            raise ValueError("this session has no pipeline; it keeps edits that are made elsewhere.")
        settings = {key: value for key, value in settings.items() if value is not None}
        settings |= {"seed": secrets.randbelow(2**31) if seed is None else seed, "choice": choice}
        check_settings(settings)
        was_restored = settings.pop("restored", False)
        if not 0 <= choice < settings.get("num_images", 1):
            raise ValueError(
                f"choice is {choice}; with {settings.get('num_images', 1)} candidates it counts from 0."
            )
        try:
            json.dumps(settings, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"an edit keeps its settings as JSON, which has no place for some ({error})."
            ) from error
        if not -(2**63) <= settings["seed"] < 2**64:
            raise ValueError(f"seed is {settings['seed']}; it must fit 64 bits.")
        call, pictures, notes = self._read_drawings(mask, sketch, semantics, color)
        for name, word, reference in (("exemplar", SELF, exemplar), ("pose_from", FRONT, pose_from)):
            if isinstance(reference, str) and reference == word:
                call[name] = pictures[name] = word
            elif reference is not None:
                size = self.pipeline.refiner.config.sample_size
                face = call[name] = self._find_reference(reference, size, settings, name)
                pictures[name] = as_uint8(face.image)
        output = self.pipeline(
            self.photo,
            **call,
            **{key: value for key, value in settings.items() if key not in ("seed", "choice")},
            aligned=self.aligned,
            known_faces=None if self.aligned else [self.faces],
            generator=torch.Generator().manual_seed(settings["seed"]),
            text_guide=text_guide,
            restore_with=restore_with,
            return_inversions=return_inversions,
            callback_on_step_end=callback_on_step_end,
            cache=self.cache,
            max_pixels=self.max_pixels,
            output_type="photo",
        )
        if restore_with is not None:
            settings["restored"] = True
        elif was_restored:
            what = "a restorer went over this edit when it was made, and none does now"
            notes.append(Note("restorer-missing", what, "Pass {argument}", argument=Argument("restore_with")))
        notes += output.notes
        notes += [remark for remark in self.photo.collect_notes(output_type) if remark not in notes]
        # References are cut out already; a script that replays them must not look for faces again.
        if any(isinstance(pictures.get(name), np.ndarray) for name in ("exemplar", "pose_from")):
            settings["exemplar_aligned"] = True
            settings.pop("exemplar_face", None)
        images = expect_kind(output.images, Photo)
        patches = {i: Patch.between(self.photo, new) for i, new in enumerate(images)}
        self.take(EditStep(pictures, settings, notes, patches))
        inversions = output.inversions and {
            name: [deliver(expect_kind(faces, Photo), output_type) for faces in shown]
            for name, shown in output.inversions.items()
        }
        return FaceEditOutput(
            images=deliver(images, output_type), faces=output.faces, inversions=inversions, notes=notes
        )

    def paste(
        self,
        object: ImageInput,
        mask: MaskInput | None = None,
        *,
        place: Sequence[float] | None = None,
        width: float | None = None,
    ) -> Image.Image:
        """Put an object of another photo into this one, such as a hat, before an edit (thesis Fig. 6.23).

        It is a step of the history like an edit; every pixel outside the object stays as it was. No network runs, so a
        session without a pipeline pastes too. `edit("rim", exemplar="self")` makes the join seamless.

        Args:
            object: a cut-out, what is transparent left away; or any photo with a mask.
            mask: what of the object's photo is the object, white or painted; None: what is not transparent.
            place: where its middle goes, x and y in pixels of the photo; None: the photo's middle.
            width: how wide it becomes, in pixels of the photo; None: as wide as it is.

        Returns:
            The photo with the object.

        Raises:
            FileNotFoundError, TypeError, ValueError: the object or its mask cannot be used, it has neither transparency
                nor a mask, is too large, or lies beside the photo. The session is as before.
        """
        check_place(place, width)
        cut, notes = cut_out(object, mask, self.max_pixels)
        place = [n / 2 for n in self.photo.size] if place is None else [float(n) for n in place]
        width = cut.shape[1] if width is None else width
        photo, where = paste_object(self.photo, cut, place, width)
        settings = {"place": place, "width": width}
        self.take(
            EditStep({"object": cut, "mask": where}, settings, notes, {0: Patch.between(self.photo, photo)})
        )
        return self.image

    def rim(self, width: float | None = None) -> np.ndarray:
        """A mask along the outline of what was pasted last, bool `[H, W]`, for the edit that makes it seamless.

        Args:
            width: how far it goes to either side, in pixels; None: 6% of the object's size, at least 3.

        Raises:
            ValueError: nothing is pasted, or another width.
        """
        if width is not None and not (math.isfinite(width) and width >= 1):
            raise ValueError(f"width is {width}; a rim needs 1 pixel or more")
        pasted = [step.pictures["mask"] for step in self.history if "object" in step.pictures]
        if not pasted or isinstance(pasted[-1], str):
            raise ValueError("nothing is pasted, so there is no rim. Call paste first")
        return rim_of(pasted[-1], width)

    def replay(self, edit: Mapping[str, Any], **more: Any) -> FaceEditOutput:
        """Do a step of a script again, see `facekit.pipelines.edit.session.script.read_script`.

        Args:
            edit: arguments of `edit`, or of `paste` where it has an "object" (and its mask as "object_mask").
            more: further arguments of `edit`, which prevail; a paste has no use for them but `output_type`.

        Raises:
            As `edit` and `paste` do.
        """
        if edit.get("object") is None:
            return self.edit(**{**edit, **more})
        self.paste(edit["object"], edit.get("object_mask"), place=edit.get("place"), width=edit.get("width"))
        notes = [note for note in self.history[-1].notes if isinstance(note, Note)]
        images = deliver([self.photo], more.get("output_type", "pil"))
        return FaceEditOutput(images=images, faces=[self.faces], notes=notes)

    def take(self, step: EditStep) -> None:
        """Add an edit of the photo as it is now, for example one that another process made.

        Edits that were taken back are forgotten.
        """
        del self.steps[self.position :]
        for earlier in self.steps:
            # Candidates can be chosen as long as nothing was built on them.
            earlier.patches = {earlier.choice: earlier.patch}
        self.steps.append(step)
        self._move(1)

    def choose(self, index: int) -> Image.Image:
        """Take another candidate of the last edit. ValueError where there is none, or further edits followed."""
        last = self.steps[-1] if self.can_undo and not self.can_redo else None
        if last is None or index not in last.patches:
            known = "there is no last edit" if last is None else f"it has {sorted(last.patches)}"
            raise ValueError(f"candidate {index} of the last edit cannot be chosen: {known}.")
        if index == last.choice:
            return self.image
        self.undo()
        last.settings["choice"] = index
        return self.redo()

    def undo(self) -> Image.Image:
        """Take the last edit back. ValueError where there is none."""
        if not self.can_undo:
            raise ValueError("there is no edit to undo.")
        self._move(-1)
        return self.image

    def redo(self) -> Image.Image:
        """Do again what was taken back last. ValueError where nothing was."""
        if not self.can_redo:
            raise ValueError("there is no edit to redo.")
        self._move(1)
        return self.image

    def _move(self, by: int) -> None:
        step = self.steps[self.position if by > 0 else self.position - 1]
        self.photo = step.patch.put(self.photo, back=by < 0)
        self.position += by

    def _read_drawings(
        self,
        mask: MaskInput,
        sketch: MaskInput | None,
        semantics: SemanticsInput | None,
        color: ImageInput | None,
    ) -> tuple[dict[str, Any], dict[str, np.ndarray | str], list[Note]]:
        """Arguments for the pipeline, the same as arrays to keep, and notes."""
        size, limit = self.photo.size, self.max_pixels
        if mask is None:
            raise ValueError("mask is missing. Pass one that marks what may change.")
        if isinstance(mask, str) and mask == RIM_WORD:
            mask = self.rim()
        hole, notes = load_mask(mask, size, max_pixels=limit)
        if not hole.any():
            raise Refusal(
                "mask-empty",
                "the mask of {name} is empty, so nothing would be edited{why}",
                "Paint it white (or with alpha) where the photo may change",
                name=self.photo.name,
                why="".join(f". {note[0].upper()}{note[1:]}" for note in notes),
            )
        call: dict[str, Any] = {"mask": hole}
        kept: dict[str, np.ndarray | str] = {"mask": hole}
        (lines,) = read_sketches(sketch, [self.photo], limit)
        if lines is not None:
            strokes, remarks = lines
            call["sketch"] = kept["sketch"] = strokes
            notes = notes + remarks
        if semantics is not None:
            labels, remarks = read_semantics(semantics, size, hole, max_pixels=limit)
            call["semantics"] = kept["semantics"] = labels
            notes = notes + remarks
        if color is not None:
            colors, painted, remarks = read_color(color, size, max_pixels=limit)
            layer = np.dstack([colors, np.where(painted, 255, 0).astype(np.uint8)])
            call["color"] = kept["color"] = layer
            notes = notes + remarks
        return call, kept, list(notes)

    def _find_reference(
        self, reference: ImageInput | ReferenceFace, size: int, settings: Mapping[str, Any], name: str
    ) -> ReferenceFace:
        """The face of an exemplar or pose reference, cut out at `size` pixels a side; sought once for each picture."""
        if isinstance(reference, ReferenceFace):
            return reference
        photos = load_images(reference, max_pixels=self.max_pixels, name=name)
        if len(photos) != 1:
            raise ValueError(f"{name} has {len(photos)} pictures; an edit takes one.")
        aligned, face = settings.get("exemplar_aligned"), settings.get("exemplar_face", "only")
        aligned = self.aligned if aligned is None else aligned
        key = digest(photos[0].pixels, repr((aligned, face)))
        if key not in self._references:
            (self._references[key],) = find_references(
                reference,
                size,
                aligned=aligned,
                face=face,
                detector=None,
                max_pixels=self.max_pixels,
                name=name,
                rounds=True,
            )
        return self._references[key]

    def save(self, path: str | Path) -> None:
        """Write photo, edits and their pictures as a zip where `path` ends in .zip, else as a folder.

        An earlier session of that name is replaced; the file is complete or as it was. The pipeline's weights are
        not in it.

        Raises:
            ValueError: `path` is something else than an earlier session.
        """
        entry, files = describe_photo(self.original)
        edits = []
        for number, step in enumerate(self.steps, start=1):
            edit, own = describe_step(step, number)
            edits.append(edit)
            files |= own
        manifest = {"photo": entry, "aligned": self.aligned, "faces": [describe_face(f) for f in self.faces]}
        write_session(Path(path).expanduser(), manifest | {"position": self.position, "edits": edits}, files)

    @classmethod
    def load(
        cls,
        pipeline: "FaceEditPipeline | None",
        path: str | Path,
        *,
        max_pixels: int | None = MAX_PIXELS,
        max_bytes: int = MAX_BYTES,
        cache_bytes: int = CACHE_BYTES,
    ) -> "EditSession":
        """Open what `save` wrote, with the pictures exactly as they were. Nothing of it is run or unpacked.

        Args:
            max_pixels: refuse larger pictures before they are decoded; None lifts the limit.
            max_bytes: refuse larger sessions.

        Raises:
            FileNotFoundError: there is nothing at `path`.
            ValueError: no session, one that was changed or damaged, or one beyond the limits.
        """
        path = Path(path).expanduser()
        manifest, files = read_session(path, max_bytes)
        try:
            photo = photo_from(manifest["photo"], files, max_pixels)
            aligned, position = manifest["aligned"], manifest["position"]
            edits = check_edits(manifest, str(path))
            if not isinstance(aligned, bool) or type(position) is not int or not 0 <= position <= len(edits):
                raise ValueError("aligned or position is wrong")
            session = cls(pipeline, photo, aligned=True, max_pixels=max_pixels, cache_bytes=cache_bytes)
            session.aligned = aligned
            session.faces = [face_from(entry, index) for index, entry in enumerate(manifest["faces"])]
            if bool(session.faces) == aligned:
                raise ValueError("the faces are missing")
            for edit in edits:
                step = step_from(edit, files, session.photo, max_pixels)
                session.steps.append(step)
                session._move(1)
        except (KeyError, TypeError, AttributeError, OverflowError, ValueError) as error:
            raise ValueError(f"{path} is no edit session that can be opened: {error}.") from error
        while session.position > position:
            session._move(-1)
        return session
