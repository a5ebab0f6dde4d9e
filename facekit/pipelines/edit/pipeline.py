"""`FaceEditPipeline`: local edits of faces by sketch, semantic map, colour, exemplar, text, attribute and pose."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from facekit.conditions.guidance import read_guidance
from facekit.conditions.semantics import UNLABELLED, SemanticsInput, parse
from facekit.faces.detect import Detector, Face, detect_faces
from facekit.faces.jobs import PhotoJob
from facekit.faces.references import ReferenceFace, References, find_references, pair_up
from facekit.faces.selection import select_faces
from facekit.faces.squares import FaceSquare, Square, frame_whole
from facekit.hub.errors import explain_errors
from facekit.images.masks import MaskInput, load_masks
from facekit.images.photo import MAX_PIXELS, ImageInput, as_uint8, load_images
from facekit.images.tensors import (
    OutputType,
    check_output_type,
    deliver,
    deliver_squares,
    to_batch,
    to_pictures,
)
from facekit.models.bisenet import BiSeNet
from facekit.models.face_parser import FaceParser
from facekit.models.fast.fold import to_channels_last
from facekit.models.latent_warper import LatentWarper
from facekit.models.multimodal import MultimodalAggregation
from facekit.models.refiner import RefinementAutoEncoder
from facekit.models.style_directions import StyleDirections
from facekit.models.style_encoder import StyleEncoder
from facekit.models.stylegan2 import StyleGAN2Generator
from facekit.notes import Argument, Note, Refusal
from facekit.pipelines import tones
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
from facekit.pipelines.edit.cache import EditCache
from facekit.pipelines.edit.codes import CodeSources, compose_codes
from facekit.pipelines.edit.encoding import Encoder
from facekit.pipelines.edit.plan import EditSquare, find_strange_paint, plan_edit, same_face
from facekit.pipelines.edit.render import Renderer, check_fit
from facekit.pipelines.edit.settings import FRONT, SELF, EditSettings, FaceEditOutput
from facekit.pipelines.restore import FaceRestorePipeline
from facekit.pipelines.restored_fill import check_restorer, restore_fill

if TYPE_CHECKING:
    from facekit.conditions.text import TextGuide, TextStep
    from facekit.pipelines.edit.session.session import EditSession


class FaceEditPipeline(FacekitPipeline):
    """Edits a masked part of a face by any mix of guidance; everything else stays bit-identical.

    Lu et al., FACEMUG: a multimodal generative and fusion framework for local facial editing, IEEE TVCG (2024),
    and thesis Chapter 6. The style encoder reads codes off the masked photo and what is drawn on it, off exemplar
    and pose reference; the latent warper turns the exemplar to the photo's pose (Eq. 6.2); attributes and text move
    the codes (Eq. 6.3 to 6.5); the prior makes features of them, and the refiner rebuilds the masked part from these
    and the aggregated modalities (Eq. 6.1, 6.6 to 6.8).

    When guidance contradicts itself: sketch, semantics and colour meet pixel by pixel, where the aggregation weighs
    them against each other as it learnt to (Eq. 6.16). The exemplar sets the style of the whole, and a drawing
    prevails over it where something is drawn. Attributes move what the exemplar gave, and the text starts from
    there, so that it has the last word about the codes. A pose reference overrides the photo's pose. `strengths`
    weakens any of them.

    Args:
        style_encoder: masked photo and drawings, or a face -> codes; 26 channels.
        prior: codes -> features; of the refiner's size or larger.
        latent_warper: turns codes to another pose.
        aggregation: masked photo and drawings -> one feature map.
        refiner: features, codes and prior features -> face.
        face_parser: optional, for `semantic_maps`.
        directions: optional, for `attributes`.
        match_tones: default of the call's argument where no colours are painted; saved with the model. The published
            method has none.

    Raises:
        ValueError: components that do not fit each other.
    """

    model_cpu_offload_seq = "face_parser->style_encoder->latent_warper->aggregation->prior->refiner"
    _optional_components = ["face_parser", "directions"]  # noqa: RUF012  diffusers reads a plain list
    _callback_tensor_inputs = ("w_plus",)

    style_encoder: StyleEncoder
    prior: StyleGAN2Generator
    latent_warper: LatentWarper
    aggregation: MultimodalAggregation
    refiner: RefinementAutoEncoder
    face_parser: FaceParser | BiSeNet | None
    directions: StyleDirections | None
    _text_guide: "tuple[str | None, TextGuide] | None" = None

    def __init__(
        self,
        style_encoder: StyleEncoder,
        prior: StyleGAN2Generator,
        latent_warper: LatentWarper,
        aggregation: MultimodalAggregation,
        refiner: RefinementAutoEncoder,
        face_parser: FaceParser | BiSeNet | None = None,
        directions: StyleDirections | None = None,
        match_tones: bool = False,
    ) -> None:
        super().__init__()
        check_fit(style_encoder, prior, latent_warper, refiner, directions)
        self.register_modules(
            style_encoder=style_encoder,
            prior=prior,
            latent_warper=latent_warper,
            aggregation=aggregation,
            refiner=refiner,
            face_parser=face_parser,
            directions=directions,
        )
        self.register_to_config(match_tones=match_tones)
        for network in (prior, aggregation, refiner):
            to_channels_last(network)

    @property
    def attribute_names(self) -> tuple[str, ...]:
        """The attributes that an edit can name; none where the model has no directions."""
        return () if self.directions is None else self.directions.names

    def edit_session(self, image: ImageInput, **options: Any) -> "EditSession":
        """One photo for edit after edit, with undo; see `EditSession`."""
        from facekit.pipelines.edit.session.session import EditSession

        return EditSession(self, image, **options)

    def check_inputs(
        self,
        num_images: int,
        max_batch_size: int,
        num_inference_steps: int,
        prompt: str | None,
        output_type: str,
        callback_inputs: Sequence[str] = (),
        text_options: Mapping[str, Any] | None = None,
    ) -> None:
        """Refuse settings that cannot work, before anything is loaded.

        Raises:
            ValueError: with the offending value and what would do.
        """
        self.check_counts(
            num_images=num_images, max_batch_size=max_batch_size, num_inference_steps=num_inference_steps
        )
        check_output_type(output_type)
        if prompt is not None and (not isinstance(prompt, str) or not prompt.strip()):
            raise ValueError(f"prompt is {prompt!r}; pass a text such as 'a face with blue eyes', or None.")
        if text_options:
            from facekit.conditions.text import check_text_options

            check_text_options(text_options)
        self.check_callback_inputs(callback_inputs)

    # The text's optimisation needs gradients, which tensors made in inference mode cannot carry.
    @torch.inference_mode(False)
    @torch.no_grad()
    def __call__(
        self,
        image: ImageInput | Sequence[ImageInput],
        mask: MaskInput | Sequence[MaskInput] | None = None,
        *,
        sketch: MaskInput | Sequence[MaskInput] | None = None,
        semantics: SemanticsInput | Sequence[SemanticsInput] | None = None,
        color: ImageInput | Sequence[ImageInput] | None = None,
        exemplar: References | None = None,
        prompt: str | None = None,
        attributes: Mapping[str, float] | None = None,
        pose_from: References | None = None,
        strengths: Mapping[str, float] | None = None,
        align_pose: bool = True,
        aligned: bool = False,
        exemplar_aligned: bool | None = None,
        faces: str | Sequence[int] = "all",
        exemplar_face: str | int = "only",
        detector: str | Detector | None = None,
        known_faces: Sequence[Sequence[Face]] | None = None,
        num_images: int = 1,
        variety: float | None = None,
        truncation_psi: float = 1.0,
        noise: Literal["random", "fixed", "none"] = "random",
        match_tones: bool | None = None,
        restore_with: FaceRestorePipeline | None = None,
        keep_detail: bool = False,
        text_guide: "TextGuide | str | None" = None,
        num_inference_steps: int = 200,
        text_options: Mapping[str, Any] | None = None,
        cache: EditCache | None = None,
        return_inversions: bool = False,
        generator: Generators = None,
        z: torch.Tensor | None = None,
        watermark: bool = False,
        max_batch_size: int = 8,
        max_pixels: int | None = MAX_PIXELS,
        output_type: OutputType = "pil",
        return_dict: bool = True,
        callback_on_step_end: StepCallback | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("w_plus",),
    ) -> FaceEditOutput | AsTuple:
        """Edit the masked parts of photos. Pixels outside the mask come back bit-identical.

        Guidance is drawn on the photo and travels through the same warp as the face. What lies outside the mask is
        ignored, with a note. Every subset of the modalities will do, none too. A photo without colours, gray or toned
        as sepia is, stays without (`facekit.images.tint`) but where `color` paints some.

        Args:
            image: what `facekit.images.photo.load_image` takes, one or a list.
            mask: what `facekit.images.masks.load_mask` takes, one for all photos or one for each. Every face that
                the mask touches is edited; what it covers beyond the faces' crops stays, with a note.
            sketch: strokes, as a mask is given (lines of any width; dark ones on white paper too).
            semantics: label map, palette picture, RGBA layer or `{"hair": mask}`; see
                `facekit.conditions.semantics`.
            color: strokes as an RGBA layer, or a whole picture of colours.
            exemplar: photos whose face sets the style: one for all photos, one for each, or several for one
                photo; or "self", the photo's own face before the edit.
            prompt: a text for CLIP (up to its 77 tokens), which moves the codes until the face follows it.
            attributes: directions in W+ and how far to go, for example {"smile": 2.0}; `attribute_names` are known.
            pose_from: a photo, or one for each, whose pose the edited face takes; or "front" to look straight
                ahead. Turns the exemplar, or without one the photo's own face.
            strengths: 0 (ignored) to 1 for "sketch", "semantics", "color", "exemplar", "pose", "attributes",
                "prompt"; those that are not named count 1.
            align_pose: turn exemplar and random codes to the photo's pose.
            aligned: the photos are aligned faces already: no detection, the whole picture is one square.
            exemplar_aligned: exemplars and pose references are aligned faces already; None: as `aligned`.
            faces: which faces to edit: "all", "largest" or indices from left to right.
            exemplar_face: which face of an exemplar or pose reference to take: "only" (there must not be several),
                "largest" or an index.
            detector: detector name or object for `facekit.faces.detect_faces`; None is the bundled one.
            known_faces: for each photo all its faces, if they were found before; then no photo is searched.
            num_images: candidates for each pair of photo and exemplar.
            variety: share of random codes, 0 to 1. None: 0 for the first candidate and 0.5 for the others.
            truncation_psi: below 1 random codes are drawn towards their average.
            noise: per-pixel noise after each convolution: "random", "fixed" (the stored maps) or "none".
            match_tones: remove steps in tone along the rim of the hole; the middle of a large one keeps
                what it was given, see `fades` of `facekit.pipelines.tones.match_tones`. None: as the model's
                configuration says, but not in faces on which colours are painted, since those set the tones.
            restore_with: a `FaceRestorePipeline` that goes over the filled faces, inside their holes, and draws their
                detail, see `facekit.pipelines.restored_fill`. The bundled models gain by it; None: as in the thesis.
            keep_detail: put the photo's own fine light and shade back into the fill, and its edges: strands and pores
                stay where hair, lips or skin get another colour. What is to get another shape does without. See
                `facekit.faces.detail`; the thesis has nothing of the kind (False).
            text_guide: `TextGuide`, or the folder or Hub name of a CLIP model; None: its default. Kept for later
                calls.
            num_inference_steps: steps of the text's optimisation (thesis: 100 to 300).
            text_options: further arguments of `TextGuide.optimize`, such as `{"search": "thesis"}`, Eq. 6.4 to the
                letter.
            generator: source of all randomness; a list has one for each pair. Results for a seed depend neither
                on the batch nor on the device.
            z: random vectors `[N, D]` instead of drawn ones, in the order pair, candidate, face.
            callback_on_step_end: called as `f(pipeline, step, steps, tensors)` after each step of the text's
                optimisation. Setting `pipeline.interrupt = True` in it ends the optimisation there.
            callback_on_step_end_tensor_inputs: "w_plus", the codes `[N, n, D]` so far.
            watermark: mark the changed pixels invisibly, see `facekit.provenance.watermark`.
            cache: keeps encodings from call to call, see `EditCache`; only for calls of one pipeline.
            return_inversions: also return what the prior makes of each face's codes, see `FaceEditOutput`.
            max_batch_size: largest number of squares the networks see at once.
            max_pixels: refuse larger photos before they are decoded; None lifts the limit.
            output_type: "pil", "photo", "np" or "pt", see `FaceEditOutput`.
            return_dict: False gives a tuple of the output's entries that are not None.

        Raises:
            FileNotFoundError: a photo, mask or piece of guidance does not exist.
            TypeError: one of an unknown kind.
            ValueError: bad settings; an unknown attribute, class or label (the message lists the known); a picture
                that cannot be used (see `load_image`, `load_mask`); no face, or none under the mask; an exemplar with
                no face or several; numbers of pictures that do not pair; a text that CLIP cannot read.
        """
        # 1. Check the settings
        self.check_inputs(
            num_images,
            max_batch_size,
            num_inference_steps,
            prompt,
            output_type,
            callback_on_step_end_tensor_inputs,
            text_options,
        )
        check_restorer(restore_with)
        settings = EditSettings.check(
            strengths, attributes, self.attribute_names, variety, truncation_psi, noise, align_pose
        )
        wanted = settings.strengths
        exemplar = exemplar if wanted["exemplar"] else None
        pose_from = pose_from if wanted["pose"] else None
        guide = self.load_text_guide(text_guide, prompt) if prompt is not None and wanted["prompt"] else None
        cache = EditCache() if cache is None else cache
        self.interrupt = False

        # 2. Read the pictures and find the faces; whatever is wrong with them shows here
        jobs = self._plan_photos(
            image, mask, sketch, semantics, color, aligned, faces, detector, known_faces, max_pixels
        )
        options = {
            "aligned": aligned if exemplar_aligned is None else exemplar_aligned,
            "face": exemplar_face,
            "detector": detector,
            "max_pixels": max_pixels,
        }
        exemplars = self._find_references(exemplar, SELF, options, "exemplar")
        poses = self._find_references(pose_from, FRONT, options, "pose_from")
        pairs = pair_up(len(jobs), len(exemplars) or 1)
        if poses and len(poses) not in (1, len(jobs)):
            raise ValueError(
                f"{len(poses)} pose references for {len(jobs)} photos. Pass one for all, or one for each."
            )
        generator = check_generators(generator, len(pairs), "pairs of photo and exemplar")

        # 3. Settle order and randomness: pair, candidate, face
        order = SampleOrder.of([len(job.squares) for job in jobs], num_images, [photo for photo, _ in pairs])
        sources, owners, device = order.sources, order.owners, self._execution_device
        squares: list[EditSquare] = [square for job in jobs for square in job.drawn]
        samples = [squares[source] for source in sources]
        varieties = settings.varieties(order.candidates)
        z_shape = (len(order), self.prior.config.style_dim)
        self.check_shape(z, z_shape, "z")
        generators = split_generators(generator, owners)
        z = self.draw_noise(z_shape, generators) if z is None else z.to(device)

        edited: list[np.ndarray] = []
        drawn: dict[str, list[np.ndarray]] = {}
        if samples:
            encoder = Encoder(self.style_encoder, self.aggregation, self.refiner, device, cache)
            renderer = Renderer(self.prior, self.refiner)

            # 4. Codes of everything that is given
            turns, front = pose_from is not None, isinstance(pose_from, str) and pose_from == FRONT
            codes = CodeSources(encoder.encode_squares(squares, wanted, max_batch_size)[sources])
            if any(varieties):
                codes.random = renderer.draw_codes(z, settings.truncation_psi)
            if exemplar is not None:
                own = isinstance(exemplar, str) and exemplar == SELF
                shown = [
                    sample.own if own else exemplars[pairs[owner][1]].image
                    for sample, owner in zip(samples, owners, strict=True)
                ]
                codes.exemplar = encoder.encode_faces(shown, max_batch_size)
                if front:
                    mirrored = [picture[:, ::-1] for picture in shown]
                    codes.mirrored_exemplar = encoder.encode_faces(mirrored, max_batch_size)
            elif turns:
                codes.own = encoder.encode_faces([sample.own for sample in samples], max_batch_size)
                if front:
                    mirrored = [sample.own[:, ::-1] for sample in samples]
                    codes.mirrored_own = encoder.encode_faces(mirrored, max_batch_size)
            if turns and not front:
                given = [poses[pairs[owner][0] % len(poses)].image for owner in owners]
                codes.pose = encoder.encode_faces(given, max_batch_size)

            # 5. Turn, move and, after a text, optimise them
            shift = None
            if self.directions is not None and settings.attributes:
                shift = self.directions.shift(settings.attributes).to(device)
            w_hat, w_plus = compose_codes(self.latent_warper, codes, settings, varieties, shift)
            known, holes = (batch[sources] for batch in self.make_batch(jobs))
            if guide is not None and prompt is not None:
                # Only now, since most edits have no text and CLIP takes seconds to import.
                from facekit.pipelines.edit.text import TextSearch

                def report(step: "TextStep", codes: torch.Tensor) -> None:
                    names = callback_on_step_end_tensor_inputs
                    self.call_back(callback_on_step_end, names, step.step, step.steps, w_plus=codes)

                search = TextSearch(
                    guide, encoder, renderer, self.progress_bar, lambda: self.interrupt, report
                )
                w_plus = search.follow(
                    prompt,
                    w_plus,
                    samples,
                    (known, holes),
                    wanted,
                    num_inference_steps,
                    dict(text_options or {}),
                )

            # 6. Render under the edited codes
            def render(part: slice) -> torch.Tensor:
                features = encoder.encode_features(samples[part], wanted)
                return renderer.render(w_plus[part], features, settings.noise, generators[part])

            predicted = run_in_parts(render, len(order), max_batch_size)
            self.check_finite(predicted, self.refiner.dtype)
            result = predicted * holes + known * (1 - holes)
            colored = [wanted["color"] > 0 and sample.is_painted for sample in samples]
            result = self._match_tones(result, known, holes, colored, match_tones)
            if restore_with is not None:
                lines = [sample.seen.sketch if wanted["sketch"] else None for sample in samples]
                result = restore_fill(restore_with, result, holes, generators, max_batch_size, strokes=lines)
            tints = [tint for job in jobs for tint in job.tints]
            painted = [
                paint if wanted["color"] else None for job in jobs for paint in find_strange_paint(job)
            ]
            edited = to_pictures(result, [tints[s] for s in sources], [painted[s] for s in sources])
            if return_inversions:
                size = self.refiner.config.sample_size
                sets = {"projected": codes.projected, "exemplar": codes.exemplar, "warped": w_hat}
                drawn = {
                    name: draw_inversions(self.prior, some, size, max_batch_size)
                    for name, some in (sets | {"edited": w_plus}).items()
                    if some is not None
                }

        # 7. Put the squares back into the photos
        inversions = {
            name: [deliver_squares(pictures[part], output_type) for _, part in order.results()]
            for name, pictures in drawn.items()
        }
        output = FaceEditOutput(
            images=deliver(self.finish(jobs, order, edited, watermark, keep_detail), output_type),
            faces=[jobs[photo].faces for photo, _ in pairs],
            inversions=inversions if return_inversions else None,
            notes=self._collect_notes(jobs, exemplars, poses, pairs, output_type),
        )

        # 8. Let go of the device
        self.maybe_free_model_hooks()
        return output if return_dict else output.to_tuple()

    @torch.no_grad()
    def semantic_maps(
        self,
        image: ImageInput | Sequence[ImageInput],
        *,
        aligned: bool = False,
        faces: str | Sequence[int] = "all",
        detector: str | Detector | None = None,
        known_faces: Sequence[Sequence[Face]] | None = None,
        max_pixels: int | None = MAX_PIXELS,
    ) -> list[np.ndarray]:
        """The face parser's map of every photo, to be repainted and passed as `semantics`.

        Returns:
            Labels uint8 `[H, W]` for each photo in the order of `CLASS_NAMES`; 255 (no class) outside the faces.

        Raises:
            FileNotFoundError, TypeError, ValueError: a photo cannot be used (see `load_image`).
            ValueError: the model has no face parser, or a photo does not have a face of `faces`.
        """
        if self.face_parser is None:
            raise Refusal(
                "no-face-parser",
                "this model has no face parser",
                "Load one that has, or pass {parser}= to from_pretrained",
                parser=Argument("face_parser"),
            )
        size, maps = self.refiner.config.sample_size, []
        photos = load_images(image, max_pixels=max_pixels)
        for photo, known in zip(photos, check_known_faces(known_faces, len(photos)), strict=True):
            squares: list[Square] = [frame_whole(photo.rgb, size)]
            if not aligned:
                found = detect_faces(as_uint8(photo.rgb), detector=detector) if known is None else known
                found = select_faces(found, faces)
                squares = [FaceSquare(photo.rgb, face, size) for face in found]
            width, height = photo.size
            labels = np.full((height, width), UNLABELLED, dtype=np.uint8)
            for square in squares:
                batch = to_batch([square.image], self._execution_device)
                parsed = torch.as_tensor(parse(self.face_parser, batch))[0].cpu().numpy()
                _lay_labels(labels, parsed.astype(np.uint8), square)
            maps.append(labels)
        self.maybe_free_model_hooks()
        return maps

    def load_text_guide(self, text_guide: "TextGuide | str | None", prompt: str) -> "TextGuide":
        """The text guide that was passed, or the one of that name, which is loaded and kept.

        Raises:
            ImportError, OSError: CLIP cannot be loaded, see `TextGuide.from_pretrained`.
            ValueError: a prompt that it cannot read.
        """
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

    def _plan_photos(
        self,
        image: ImageInput | Sequence[ImageInput],
        mask: MaskInput | Sequence[MaskInput] | None,
        sketch: MaskInput | Sequence[MaskInput] | None,
        semantics: SemanticsInput | Sequence[SemanticsInput] | None,
        color: ImageInput | Sequence[ImageInput] | None,
        aligned: bool,
        faces: str | Sequence[int],
        detector: str | Detector | None,
        known_faces: Sequence[Sequence[Face]] | None,
        max_pixels: int | None,
    ) -> list[PhotoJob]:
        if mask is None:
            raise ValueError("mask is missing. Pass one that marks what may change.")
        photos = load_images(image, max_pixels=max_pixels)
        masks = load_masks(mask, photos, max_pixels=max_pixels)
        holes = [hole for hole, _ in masks]
        guidance = read_guidance(photos, holes, sketch, semantics, color, max_pixels)
        known = check_known_faces(known_faces, len(photos))
        return [
            plan_edit(
                photo,
                own,
                drawn,
                sample_size=self.refiner.config.sample_size,
                aligned=aligned,
                faces=faces,
                detector=detector,
                known_faces=found,
            )
            for photo, own, drawn, found in zip(photos, masks, guidance, known, strict=True)
        ]

    def _match_tones(
        self,
        filled: torch.Tensor,
        known: torch.Tensor,
        holes: torch.Tensor,
        colored: Sequence[bool],
        wanted: bool | None,
    ) -> torch.Tensor:
        """Filled squares `[N, 3, S, S]` with tones matched, see `match_tones` of the call."""
        chosen = [bool(wanted)] * len(colored)
        if wanted is None:
            chosen = [self.config["match_tones"] and not has_color for has_color in colored]
        if not any(chosen):
            return filled
        where = torch.tensor(chosen, device=filled.device)[:, None, None, None]
        return torch.where(where, tones.match_tones(filled, known, holes, fades=True), filled)

    def _find_references(
        self, pictures: References | None, word: str, options: dict[str, Any], name: str
    ) -> list[ReferenceFace]:
        """Faces of exemplars or pose references; none for the `word` that stands for something else."""
        if pictures is None or (isinstance(pictures, str) and pictures == word):
            return []
        return find_references(pictures, self.refiner.config.sample_size, name=name, rounds=True, **options)

    def _collect_notes(
        self,
        jobs: list[PhotoJob],
        exemplars: list[ReferenceFace],
        poses: list[ReferenceFace],
        pairs: list[tuple[int, int]],
        output_type: str,
    ) -> list[Note]:
        """Notes on photos and references, with the pictures' names in front when there are several."""
        notes, references = self.collect_notes(jobs, output_type), [*exemplars, *poses]
        for face in references:
            notes += [note.about(face.photo.name) if len(references) > 1 else note for note in face.notes]
        for photo, guide in pairs:
            if exemplars and any(same_face(exemplars[guide].image, s) for s in jobs[photo].drawn):
                what = "{name} is the photo itself: the edit is styled after what the mask hides"
                notes.append(Note("reference-is-photo", what, name=exemplars[guide].photo.name))
        return notes


def read_attribute_names(source: str) -> tuple[str, ...]:
    """The attributes that an edit with a model can name, read from its files without its networks.

    Args:
        source: folder or Hub id of a `FaceEditPipeline`.

    Raises:
        OSError: there is no such model.
        ValueError: it is another pipeline's.
    """
    with explain_errors(source) as options:
        config: Any = FaceEditPipeline.load_config(source, **options)
        if config.get("_class_name") != FaceEditPipeline.__name__:
            raise ValueError(f"{source} is no model of FaceEditPipeline.")
        if config.get("directions", [None])[0] is None:
            return ()
        directions: Any = StyleDirections.load_config(source, subfolder="directions", **options)
    return tuple(directions["names"])


def _lay_labels(labels: np.ndarray, parsed: np.ndarray, square: Square) -> None:
    """Write a map `[S, S]` of classes into the photo's `[H, W]`, where it has none yet."""
    everywhere = np.ones(labels.shape, dtype=bool)
    best, total = np.zeros(labels.shape, dtype=np.float32), np.zeros(labels.shape, dtype=np.float32)
    found = np.zeros(labels.shape, dtype=np.uint8)
    for label in np.unique(parsed):
        cover = np.zeros(labels.shape, dtype=np.float32)
        values = (parsed == label).astype(np.float32)
        square.lay(cover, values, everywhere)
        found[cover > best] = label
        best, total = np.maximum(best, cover), total + cover
    free = (labels == UNLABELLED) & (total >= 0.5)
    labels[free] = found[free]
