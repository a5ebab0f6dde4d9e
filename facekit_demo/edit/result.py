"""The work of the Edit tab: a photo under edits, one edit of it, its history, and its session as a file."""

import os
import secrets
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from gradio.components.base import Component
from PIL import Image

from facekit import FaceEditPipeline
from facekit.conditions.text import DEFAULT_CLIP, TextGuide
from facekit.faces import Face
from facekit.faces.references import ReferenceFace, find_references
from facekit.images.formats import FORMATS, FileFormat
from facekit.images.photo import MAX_PIXELS, Photo
from facekit.notes import Kind, message_of
from facekit.pipelines.edit.cache import EditCache
from facekit.pipelines.edit.pipeline import read_attribute_names
from facekit.pipelines.edit.session.record import EditStep
from facekit.pipelines.edit.session.session import EditSession
from facekit.pipelines.edit.settings import FRONT, SELF
from facekit_demo.common.candidates import around_faces, as_many_as_fit
from facekit_demo.common.comparison import Compared, compare, cut, face_places, with_room
from facekit_demo.common.detail import load_detail, make_detail_ready
from facekit_demo.common.exemplar_faces import THUMBNAIL, ExampleFace
from facekit_demo.common.running import load_pipeline, log, model_source, on_gpu, open_photo, preview
from facekit_demo.common.saved_format import own_format
from facekit_demo.common.temporary import own_folder
from facekit_demo.common.words import NO_FACE, in_page_words, page_words
from facekit_demo.edit.pasting import Placing

CLIP_VARIABLE = "FACEKIT_CLIP_MODEL"
CACHE_BYTES = 256 * 2**20  # of encodings, of all visitors' photos
MAX_EDITS = 100  # of one photo; all of them can be undone, so all are kept
SESSION_BYTES = 2**28
STEPS, MAX_STEPS = 100, 300  # of the words' search, as in the thesis
# What attributes are called on the page, where their own names are of the trade.
SLIDER_NAMES = {"yaw": "Look to one side or the other", "pitch": "Look up or down"}
UNGUIDED = (
    "Nothing says what should be there, so this is a rough draft: draw lines, put in colours, choose an example "
    "face or move a slider."
)
# What strengths are called on the page.
STRENGTHS = {
    "sketch": "Lines",
    "semantics": "Parts",
    "color": "Colours",
    "exemplar": "Example face",
    "attributes": "Sliders",
    "prompt": "Words",
    "pose": "Turned head",
}


@dataclass(eq=False)
class Work:
    """A photo under edits.

    Attributes:
        session: its edits. It has no pipeline: where networks run (see `on_gpu`), the work itself never comes.
        stem: what files of it are called.
        pictures: small copies, of the photo as it came and after each edit; those that were undone too.
        variants: small copies of the last edit's candidates; empty where there was one.
        format: what files of it are, unless another format is asked for.
        stop: a file that is there to have the words' search, in whatever process it runs, end with the best that
            it found.
    """

    session: EditSession
    stem: str
    pictures: list[Image.Image] = field(default_factory=list)
    variants: list[Image.Image] = field(default_factory=list)
    format: FileFormat = FORMATS["png"]
    stop: Path = field(default_factory=lambda: own_folder() / f"stop-{secrets.token_hex(8)}")

    @property
    def photo(self) -> Photo:
        """The photo as it is now."""
        return self.session.photo

    @property
    def is_restored(self) -> bool:
        """Whether a restorer went over one of the edits that are in effect."""
        return any(step.settings.get("restored") for step in self.session.history)

    @property
    def has_new_object(self) -> bool:
        """Whether an object was put in last, whose rim is edited next: nothing else need be said of that."""
        return self.session.can_undo and "object" in self.session.history[-1].pictures

    def take_picture(self) -> None:
        """Keep a small copy of the photo as it is now, of an edit the place that it changed; those of edits that are
        no more go."""
        self.pictures[self.session.position :] = [self._picture()]

    def _picture(self) -> Image.Image:
        if self.session.can_undo:
            patch = self.session.history[-1].patch
            height, width = patch.after.shape[:2]
            if height and width:
                box = with_room(
                    (patch.left, patch.top, patch.left + width, patch.top + height), self.photo.size
                )
                return cut(self.photo, box, THUMBNAIL).convert("RGB")
        shown = preview(self.photo).convert("RGB")
        face = around_faces(shown, self.session.faces, shown.width / self.photo.size[0])
        face.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
        return face

    @property
    def chosen(self) -> int | None:
        """Which of `variants` is in effect; None where none can be chosen: an edit was undone, or there was one."""
        if not self.variants or not self.session.can_undo or self.session.can_redo:
            return None
        return self.session.steps[-1].choice

    def choose(self, place: int) -> None:
        """Take another candidate of the last edit. ValueError where there is none."""
        self.session.choose(place)
        self.take_picture()

    def take_variants(self) -> None:
        """Keep small copies of the last edit's candidates; the first one is in effect afterwards."""
        self.variants = []
        if len(self.session.steps[-1].patches) > 1:
            for place in reversed(sorted(self.session.steps[-1].patches)):
                self.choose(place)
                self.variants.insert(0, self.pictures[-1])

    def go_to(self, place: int) -> None:
        """Undo or do again until `place` edits are in effect."""
        place = min(max(place, 0), len(self.session.steps))
        while self.session.position > place:
            self.session.undo()
        while self.session.position < place:
            self.session.redo()


@dataclass(frozen=True, eq=False)
class Wishes:
    """What an edit is to follow.

    Attributes:
        mask: where the photo may change; white.
        sketch: lines, white, or None.
        semantics: labels `[H, W]` or a file of them, or None.
        color: an RGBA layer or a file, or None.
        example: a face, "self" for the photo's own, or None.
        pose: a face, "front", or None.
        attributes: how far each slider was moved.
        prompt: words; empty for none.
        steps: of the words' search.
        strengths: of `STRENGTHS`.
        count: candidates.
        variety: 0 to 1, how much of each is random codes; with 0 the first one has none, and others are half random.
        psi: truncation of random codes.
        seed: of all randomness.
        detail: whether a restorer goes over the edited faces.
        match_tones: whether steps in tone along the mask's rim are taken away; None: as the model does.
        keep_detail: whether the photo's strands and shapes stay where nothing but colours is painted.
    """

    mask: Image.Image
    sketch: Image.Image | None = None
    semantics: np.ndarray | str | None = None
    color: Image.Image | str | None = None
    example: ExampleFace | str | None = None
    pose: ExampleFace | str | None = None
    attributes: Mapping[str, float] = field(default_factory=dict)
    prompt: str = ""
    steps: int = STEPS
    strengths: Mapping[str, float] = field(default_factory=dict)
    count: int = 1
    variety: float = 0.0
    psi: float = 1.0
    seed: int = 0
    detail: bool = True
    match_tones: bool | None = None
    keep_detail: bool = True

    @property
    def is_guided(self) -> bool:
        """Whether anything says what should be there."""
        return self.color is not None or self._shapes

    @property
    def is_recoloring(self) -> bool:
        """Whether colours are painted, and nothing asks for other shapes."""
        return self.color is not None and not self._shapes

    @property
    def _shapes(self) -> bool:
        """Whether anything but colours says what should be there."""
        given = (self.sketch, self.semantics, self.example, self.pose)
        said = self.prompt.strip() or self.variety or any(self.attributes.values())
        return bool(said) or any(one is not None for one in given)


def pipeline() -> FaceEditPipeline:
    """The model, loaded at its first use. For functions `on_gpu` alone."""
    return load_pipeline("edit")


@lru_cache(maxsize=1)
def encodings(_pipe: FaceEditPipeline) -> EditCache:
    """What the networks of a pipeline made of photos and guidance, kept from edit to edit where they run."""
    return EditCache(CACHE_BYTES)


def attribute_names() -> tuple[str, ...]:
    """The attributes that the model knows. Raises ValueError or OSError where there is no model."""
    return _names_in(model_source("edit"))


@lru_cache(maxsize=1)
def _names_in(source: str) -> tuple[str, ...]:
    """Read from the model's files, because its networks are not for the page's own process."""
    return read_attribute_names(source)


def open_work(path: str | None) -> Work:
    """A photo that is to be edited. Raises ValueError or OSError with advice, for one without a face too."""
    photo = open_photo(path)
    with in_page_words(WORDS):
        work = Work(EditSession(None, photo), Path(path).stem, format=own_format(path))
    work.take_picture()
    return work


def find_work(path: str | None) -> Work | None:
    """A photo that is to be edited; None where it has no face. Raises as `open_work` does otherwise."""
    try:
        return open_work(path)
    except ValueError as error:
        message = message_of(error.__cause__)
        if message is not None and message.kind == "no-face":
            return None
        raise


def open_saved(path: str | None) -> Work:
    """A saved session. Raises ValueError or OSError with advice."""
    if not path:
        raise ValueError("choose a session that was saved here, a .zip file")
    session = EditSession.load(None, path, max_bytes=SESSION_BYTES)
    # Names of uploads are this short already; an ending has to fit as well.
    stem = Path(session.original.name).stem.encode(errors="ignore")[:200].decode(errors="ignore")
    work, place = Work(session, stem or "photo"), session.position
    for step in range(len(session.steps) + 1):
        work.go_to(step)
        work.take_picture()
    work.go_to(place)
    return work


def packed(work: Work | None, component: Component) -> str:
    """The session as a .zip in the cache of `component`. ValueError where there is none."""
    if work is None:
        raise ValueError("choose a photo first")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{work.stem}-session.zip"
        work.session.save(path)
        cached = component.move_resource_to_block_cache(path)
    if cached is None:
        raise OSError("the session could not be stored for download")
    return cached


def run_edit(work: Work, wishes: Wishes, progress: gr.Progress | None = None) -> list[str]:
    """Edit the photo as it is now: the work has one more edit then. Gives remarks.

    Raises:
        ValueError: in the words of the page. The work is as before.
        OSError: the weights that words need are missing; the message says what to download.
    """
    session = work.session
    _check_count(work)
    work.stop.unlink(missing_ok=True)
    make_detail_ready(wishes.detail, progress)
    count, remarks = as_many_as_fit(int(wishes.count), session.photo.size)
    wishes = replace(wishes, count=count)
    step = _edited(session.photo, session.faces, wishes, work.stop, progress)
    session.take(step)
    work.take_picture()
    work.take_variants()
    return [*remarks, *(page_words(note, WORDS) for note in step.notes)]


def paste_in(work: Work, placing: Placing) -> tuple[Image.Image, list[str]]:
    """Put an object into the photo as it is now: the work has one more edit then.

    Gives the object's rim as a mask, white on black, and remarks.

    Raises:
        ValueError, OSError: in the words of the page. The work is as before.
    """
    _check_count(work)
    with in_page_words(WORDS):
        work.session.paste(**placing.arguments(work.photo.size))
    work.take_picture()
    work.take_variants()
    rim = Image.fromarray(work.session.rim().astype(np.uint8) * 255)
    return rim, [page_words(note, WORDS) for note in work.session.history[-1].notes]


def _check_count(work: Work) -> None:
    if len(work.session.history) >= MAX_EDITS:
        raise ValueError(f"this photo has {MAX_EDITS} edits. Download it and begin anew with the result")


@on_gpu
def _edited(
    photo: Photo, faces: Sequence[Face], wishes: Wishes, stop: Path, progress: gr.Progress | None
) -> EditStep:
    """The edit, for the session that the photo is of. No faces: the photo is one aligned face.

    The words' search ends once there is a file `stop`.
    """
    if progress:
        progress(0, desc="Getting ready")
    pipe = pipeline()
    session = EditSession(pipe, photo, aligned=not faces, faces=faces)
    session.cache = encodings(pipe)

    def report(searching: Any, step: int, steps: int, kwargs: dict[str, Any]) -> dict[str, Any]:
        searching.interrupt = stop.exists()
        if progress:
            progress((step, steps), desc="Following the words", unit="steps")
        return kwargs

    prompt = wishes.prompt.strip() or None
    with in_page_words(WORDS):
        guide = text_guide(clip_name()) if prompt else None
        example = _face(pipe, wishes.example, SELF, "the example")
        pose = _face(pipe, wishes.pose, FRONT, "the picture of the pose")
        if progress:
            progress(0.2, desc="Editing")
        session.edit(
            wishes.mask,
            sketch=wishes.sketch,
            semantics=wishes.semantics,
            color=wishes.color,
            exemplar=example,
            pose_from=pose,
            prompt=prompt,
            attributes={name: float(value) for name, value in wishes.attributes.items() if value},
            strengths={name: float(value) for name, value in wishes.strengths.items()},
            num_images=wishes.count,
            variety=float(wishes.variety) or None,
            truncation_psi=float(wishes.psi),
            num_inference_steps=int(wishes.steps),
            seed=int(wishes.seed or 0),
            text_guide=guide,
            restore_with=load_detail(wishes.detail),
            match_tones=wishes.match_tones,
            keep_detail=wishes.keep_detail and wishes.is_recoloring,
            callback_on_step_end=report,
            watermark=True,
            output_type="photo",
        )
    return session.steps[0]


def parts_of(work: Work) -> np.ndarray:
    """The parts of the photo as it is now, labels uint8 `[H, W]`, 255 outside the faces.

    Raises:
        ValueError: the model has no parser.
    """
    return _parts(work.photo, work.session.faces)


@on_gpu
def _parts(photo: Photo, faces: Sequence[Face]) -> np.ndarray:
    options: dict[str, Any] = {"known_faces": [faces]} if faces else {"aligned": True}
    with in_page_words(WORDS):
        (labels,) = pipeline().semantic_maps(photo, **options)
    return labels


def _face(
    pipe: FaceEditPipeline, given: ExampleFace | str | None, word: str, name: str
) -> ReferenceFace | str | None:
    """A face as the pipeline takes it; the word and None stay as they are."""
    if given is None or given == word:
        return given
    aligned = given.index is None
    (face,) = find_references(
        given.source,
        pipe.refiner.config.sample_size,
        aligned=aligned,
        face="only" if aligned else given.index,
        detector=None,
        max_pixels=MAX_PIXELS,
        name=name,
        rounds=True,
    )
    return face


def clip_name() -> str:
    """The model that reads words."""
    return os.path.expanduser(os.environ.get(CLIP_VARIABLE, "")) or DEFAULT_CLIP


@lru_cache(maxsize=1)
def text_guide(name: str) -> TextGuide:
    """CLIP as it lies on this computer; the page downloads nothing. OSError says what to download."""
    try:
        return TextGuide.from_pretrained(name, local_files_only=True)
    except ImportError as error:
        raise OSError(str(error)) from error
    except OSError as error:
        if Path(name).is_dir():
            raise
        raise OSError(
            f"Words need the CLIP model {name}, which is not on the computer that serves this page. Run "
            f"`hf download {name}` there (about 600 MB), or set {CLIP_VARIABLE} to a folder with it."
        ) from error


@lru_cache(maxsize=1)
def words_work() -> bool:
    """Whether the model that reads words lies on this computer; where it does not, the log says what to download."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    name = clip_name()
    try:
        cached = isinstance(try_to_load_from_cache(name, "config.json"), str)
    except HFValidationError:  # a path
        cached = False
    if cached or (Path(name) / "config.json").is_file():
        return True
    log.warning(
        "Edit offers no words: they need the CLIP model %s. Run `hf download %s` (about 600 MB), or set %s to a "
        "folder with it.",
        name,
        name,
        CLIP_VARIABLE,
    )
    return False


def slider_label(name: str) -> str:
    """What the page calls an attribute."""
    return SLIDER_NAMES.get(name, name.replace("_", " ").capitalize())


def compared(work: Work) -> Compared:
    """The photo as it came and as it is; faces that were edited can be looked at closely."""
    before, after = work.session.original, work.session.photo
    return compare(before, after, face_places(work.session.faces, before.size))


# Notes and refusals that the page words in its own way.
WORDS: dict[Kind, str] = {
    "no-face": NO_FACE,
    "no-face-parser": "This model cannot find parts. Paint them yourself.",
    "mask-beside-faces": "What you painted does not touch a face. Paint over a part of the face.",
    "mask-empty": "The mask is empty. Paint over the part that may change.",
    "drawing-empty": "the {drawing} are empty and say nothing",
    "drawing-outside": "the {drawing} lie outside the mask and are ignored",
    "drawing-partly-outside": "{share} of the {drawing} lie outside the mask and are ignored",
    "no-face-in-reference": "{name} shows no face. Choose another picture",
    "prompt": "the text {problem}",
}
