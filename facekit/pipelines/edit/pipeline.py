"""`FaceEditPipeline`: local edits of faces by sketch, semantic map, colour, exemplar, text, attribute and pose."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from facekit.conditions.drawings import SemanticsInput
from facekit.images.masks import MaskInput
from facekit.images.photo import MAX_PIXELS, ImageInput
from facekit.images.tensors import check_output_type, deliver
from facekit.models.face_parser import FaceParser
from facekit.models.latent_warper import LatentWarper
from facekit.models.layers import to_channels_last
from facekit.models.multimodal import MultimodalAggregation
from facekit.models.refiner import RefinementAutoEncoder
from facekit.models.style_directions import StyleDirections
from facekit.models.style_encoder import StyleEncoder
from facekit.models.stylegan2 import StyleGAN2Generator
from facekit.pipelines import tones
from facekit.pipelines.edit.codes import CodeSources, edited_codes
from facekit.pipelines.edit.encoding import EditCache
from facekit.pipelines.edit.plan import FRONT, SELF, Exemplars
from facekit.pipelines.edit.render import EditRendering
from facekit.pipelines.edit.settings import EditSettings, FaceEditOutput
from facekit.pipelines.exemplar.plan import pair_up
from facekit.pipelines.samples import (
    check_generators,
    in_parts,
    order_samples,
    region_batch,
    sample_generators,
    to_squares,
)

if TYPE_CHECKING:
    from facekit.conditions.text import TextGuide
    from facekit.pipelines.edit.session.session import EditSession

Callback = Callable[["FaceEditPipeline", int, int, dict[str, torch.Tensor]], dict[str, torch.Tensor] | None]


class FaceEditPipeline(EditRendering):
    """Edits a masked part of a face after any mix of guidance; everything else stays bit-identical.

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
        match_tones: default of the call's argument; saved with the model. The published method has none.

    Raises:
        ValueError: components that do not fit each other.
    """

    model_cpu_offload_seq = "face_parser->style_encoder->latent_warper->aggregation->prior->refiner"
    _optional_components = ["face_parser", "directions"]  # noqa: RUF012  diffusers reads a plain list
    _callback_tensor_inputs = ("w_plus",)

    def __init__(
        self,
        style_encoder: StyleEncoder,
        prior: StyleGAN2Generator,
        latent_warper: LatentWarper,
        aggregation: MultimodalAggregation,
        refiner: RefinementAutoEncoder,
        face_parser: FaceParser | None = None,
        directions: StyleDirections | None = None,
        match_tones: bool = False,
    ) -> None:
        super().__init__()
        self._check_fit(style_encoder, prior, latent_warper, refiner, directions)
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
        """The attributes that `attributes` can name."""
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
    ) -> None:
        """Refuse settings that cannot work, before anything is loaded. ValueError says what would do."""
        self.check_counts(
            num_images=num_images, max_batch_size=max_batch_size, num_inference_steps=num_inference_steps
        )
        check_output_type(output_type)
        if prompt is not None and (not isinstance(prompt, str) or not prompt.strip()):
            raise ValueError(f"prompt is {prompt!r}; pass a text such as 'a face with blue eyes', or None.")
        self.check_callback_inputs(callback_inputs)

    # The text's optimisation needs gradients, which tensors made in inference mode cannot carry.
    @torch.inference_mode(False)
    @torch.no_grad()
    def __call__(
        self,
        image: ImageInput | Sequence[ImageInput],
        mask: MaskInput | Sequence[MaskInput] | None = None,
        sketch: MaskInput | Sequence[MaskInput] | None = None,
        semantics: SemanticsInput | Sequence[SemanticsInput] | None = None,
        color: ImageInput | Sequence[ImageInput] | None = None,
        exemplar: Exemplars | None = None,
        prompt: str | None = None,
        attributes: Mapping[str, float] | None = None,
        pose_from: Exemplars | None = None,
        strengths: Mapping[str, float] | None = None,
        align_pose: bool = True,
        aligned: bool = False,
        exemplar_aligned: bool | None = None,
        faces: str | Sequence[int] = "all",
        exemplar_face: str | int = "only",
        detector: Any = None,
        num_images: int = 1,
        variety: float | None = None,
        truncation_psi: float = 1.0,
        noise: Literal["random", "fixed", "none"] = "random",
        match_tones: bool | None = None,
        text_guide: "TextGuide | str | None" = None,
        num_inference_steps: int = 200,
        text_options: Mapping[str, Any] | None = None,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        z: torch.Tensor | None = None,
        callback_on_step_end: Callback | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("w_plus",),
        watermark: bool = False,
        cache: EditCache | None = None,
        max_batch_size: int = 8,
        max_pixels: int | None = MAX_PIXELS,
        output_type: Literal["pil", "photo", "np", "pt"] = "pil",
        return_dict: bool = True,
    ) -> FaceEditOutput | tuple:
        """Edit the masked parts of photos. Pixels outside the mask come back bit-identical.

        Guidance is drawn on the photo and travels through the same warp as the face. What lies outside the mask is
        ignored, with a note. Every subset of the modalities will do, none too. A photo without colours, gray or toned
        as sepia is, stays without (`facekit.pipelines.tint`) but where `color` paints some.

        Args:
            image: what `facekit.images.photo.load_image` takes, one or a list.
            mask: what `facekit.images.masks.load_mask` takes, one for all photos or one for each. Every face that
                the mask touches is edited; what it covers beyond the faces' crops stays, with a note.
            sketch: strokes, as a mask is given (thin lines; dark ones on white paper too).
            semantics: label map, palette picture, RGBA layer or `{"hair": mask}`; see
                `facekit.conditions.drawings`.
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
            exemplar_aligned: so are exemplars and pose references; None: what `aligned` says.
            faces: which faces to edit: "all", "largest" or indices from left to right.
            exemplar_face: which face of an exemplar or pose reference counts: "only" (several are refused),
                "largest" or an index.
            detector: detector name or object for `facekit.faces.detect_faces`; None is the bundled one.
            num_images: candidates for each pair of photo and exemplar.
            variety: share of random codes, 0 to 1. None: 0 for the first candidate and 0.5 for the others.
            truncation_psi: below 1 random codes are drawn towards their average.
            noise: per-pixel noise after each convolution: "random", "fixed" (the stored maps) or "none".
            match_tones: take a step in tone along the rim away, see `facekit.pipelines.tones`; None does what the
                model's configuration says.
            text_guide: `TextGuide`, or the folder or Hub name of a CLIP model; None: its default. Kept for later
                calls.
            num_inference_steps: steps of the text's optimisation (thesis: 100 to 300).
            text_options: further arguments of `TextGuide.optimize`.
            generator: source of all randomness; a list has one for each pair. Results for a seed depend neither
                on the batch nor on the device.
            z: random vectors `[N, D]` instead of drawn ones, in the order pair, candidate, face.
            callback_on_step_end: called as `f(pipeline, step, steps, tensors)` after each step of the text's
                optimisation. Setting `pipeline.interrupt = True` in it ends the optimisation there.
            callback_on_step_end_tensor_inputs: "w_plus", the codes `[N, n, D]` so far.
            watermark: mark the changed pixels invisibly, see `facekit.provenance.watermark`; command line and demo do.
            cache: keeps encodings from call to call, see `EditCache`; only for calls of one pipeline.
            max_batch_size: largest number of squares the networks see at once.
            max_pixels: refuse larger photos before they are decoded; None lifts the limit.
            output_type: "pil", "photo", "np" or "pt", see `FaceEditOutput`.
            return_dict: False gives a tuple of the output's entries that are not None.

        Raises:
            FileNotFoundError: a photo, mask or piece of guidance does not exist.
            TypeError: one of an unknown kind.
            ValueError: bad settings; an unknown attribute, class or label (the message lists the known); a picture
                that is refused; an empty mask; no face, or none under the mask; an exemplar with no face or
                several; numbers of pictures that do not pair; a text that CLIP cannot read.
        """
        # 1. Check the settings
        self.check_inputs(
            num_images,
            max_batch_size,
            num_inference_steps,
            prompt,
            output_type,
            callback_on_step_end_tensor_inputs,
        )
        settings = EditSettings.checked(
            strengths, attributes, self.attribute_names, variety, truncation_psi, noise, align_pose
        )
        wanted = settings.strengths
        exemplar = exemplar if wanted["exemplar"] else None
        pose_from = pose_from if wanted["pose"] else None
        guide = self.load_text_guide(text_guide, prompt) if prompt is not None and wanted["prompt"] else None
        cache = EditCache() if cache is None else cache
        self.interrupt = False

        # 2. Read the pictures and find the faces; whatever is wrong with them shows here
        jobs = self._plan_photos(image, mask, sketch, semantics, color, aligned, faces, detector, max_pixels)
        options = {
            "aligned": aligned if exemplar_aligned is None else exemplar_aligned,
            "face": exemplar_face,
            "detector": detector,
            "max_pixels": max_pixels,
        }
        exemplars = self._plan_references(exemplar, SELF, options, "exemplar")
        poses = self._plan_references(pose_from, FRONT, options, "pose_from")
        pairs = pair_up(len(jobs), len(exemplars)) if exemplars else [(i, None) for i in range(len(jobs))]
        if poses and len(poses) not in (1, len(jobs)):
            raise ValueError(
                f"{len(poses)} pose references for {len(jobs)} photos. Pass one for all, or one for each."
            )
        generator = check_generators(generator, len(pairs), "pairs of photo and exemplar")

        # 3. Settle order and randomness: pair, candidate, face
        counts = [job.counted for job in jobs]
        squares = [square for job in jobs for square in job.squares]
        starts = [sum(counts[:index]) for index in range(len(counts))]
        rows = [starts[photo] + place for photo, _ in pairs for place in range(counts[photo])]
        owners, places = order_samples([counts[photo] for photo, _ in pairs], num_images)
        sources = [rows[place] for place in places]
        candidates = [c for photo, _ in pairs for c in range(num_images) for _ in range(counts[photo])]
        varieties = settings.varieties(candidates)
        count, device = len(sources), self._execution_device
        generators = sample_generators(generator, owners)
        z = self._vectors(z, count, generators)

        # 4. Codes of everything that is given
        def faces_of(images: Sequence[np.ndarray]) -> torch.Tensor:
            return self._face_codes(images, cache, max_batch_size)

        turns = pose_from is not None
        front = isinstance(pose_from, str) and pose_from == FRONT
        codes = CodeSources(self._projected(squares, wanted, cache, max_batch_size)[sources])
        if any(varieties):
            codes.random = self._random_codes(z, settings.truncation_psi)
        if exemplar is not None:
            own = isinstance(exemplar, str) and exemplar == SELF
            shown = [
                squares[source].own if own else exemplars[pairs[owner][1]].image
                for source, owner in zip(sources, owners, strict=True)
            ]
            codes.exemplar = faces_of(shown)
            if front:
                codes.mirrored_exemplar = faces_of([picture[:, ::-1] for picture in shown])
        elif turns:
            codes.own = faces_of([squares[source].own for source in sources])
            if front:
                codes.mirrored_own = faces_of([squares[source].own[:, ::-1] for source in sources])
        if turns and not front:
            given = [poses[pairs[owner][0] % len(poses)].image for owner in owners]
            codes.pose = faces_of(given)

        # 5. Turn, move and, after a text, optimise them
        shift = None
        if settings.attributes:
            shift = self.directions.shift(settings.attributes).to(device)
        w_plus = edited_codes(self.latent_warper, codes, settings, varieties, shift)
        known, holes = region_batch([square.region for square in squares], device)
        if guide is not None:
            w_plus = self._follow_text(
                guide,
                prompt,
                w_plus,
                [squares[source] for source in sources],
                (known[sources], holes[sources]),
                settings,
                cache,
                num_inference_steps,
                dict(text_options or {}),
                (callback_on_step_end, callback_on_step_end_tensor_inputs),
            )

        # 6. Render under the edited codes
        def render(part: slice) -> torch.Tensor:
            encoded = self._encoded([squares[source] for source in sources[part]], wanted, cache)
            return self._render(w_plus[part], encoded, settings.noise, generators[part])

        predicted = in_parts(render, count, max_batch_size)
        if not torch.isfinite(predicted).all():
            raise ValueError(
                f"The networks gave NaN or infinity in {self.refiner.dtype}. "
                "Load the pipeline with dtype=torch.float32 or torch.bfloat16."
            )
        known, holes = known[sources], holes[sources]
        result = predicted * holes + known * (1 - holes)
        if self.config.match_tones if match_tones is None else match_tones:
            result = tones.match_tones(result, known, holes)
        tints = [tint for job in jobs for tint in job.job.tints]
        painted = [paint if wanted["color"] else None for job in jobs for paint in job.strange_paint()]
        edited = to_squares(result, [tints[s] for s in sources], [painted[s] for s in sources])

        # 7. Put the squares back into the photos
        images, start = [], 0
        for photo, _ in pairs:
            for _ in range(num_images):
                filled = np.stack(edited[start : start + counts[photo]])
                images.append(jobs[photo].job.painted(filled, watermark))
                start += counts[photo]
        output = FaceEditOutput(
            images=deliver(images, output_type),
            faces=[jobs[photo].job.faces for photo, _ in pairs],
            notes=self._notes(jobs, [*exemplars, *poses], pairs, exemplars, output_type),
        )

        # 8. Let go of the device
        self.maybe_free_model_hooks()
        return output if return_dict else output.to_tuple()
