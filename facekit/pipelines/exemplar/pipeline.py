"""`ExemplarInpaintPipeline`: holes in faces are filled in the manner of another face (EXE-GAN, thesis Chapter 5)."""

import inspect
import math
from collections.abc import Sequence
from numbers import Integral
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image

from facekit.conditions.sketch import read_sketches
from facekit.faces.detect import Detector, Face
from facekit.faces.references import find_references, pair_up, same_picture
from facekit.images.masks import MaskInput, load_masks
from facekit.images.photo import MAX_PIXELS, ImageInput, load_images
from facekit.images.tensors import (
    OutputType,
    check_output_type,
    deliver,
    deliver_squares,
    expect_kind,
    to_batch,
    to_pictures,
)
from facekit.models.arcface import ArcFaceEncoder
from facekit.models.identity_encoder import IdentityEncoder
from facekit.models.layers.unet import EncodedFace
from facekit.models.multi_style import MultiStyleGenerator
from facekit.models.style_encoder import StyleEncoder
from facekit.notes import Argument, Note, Refusal
from facekit.pipelines import tones
from facekit.pipelines.base import (
    AsTuple,
    FacekitPipeline,
    Generators,
    SampleOrder,
    check_generators,
    check_known_faces,
    run_in_parts,
    split_generators,
)
from facekit.pipelines.exemplar.encoding import EncodedPhotos, Encoder, ExemplarCodes, plan_photo
from facekit.pipelines.exemplar.layers import check_layers, choose_second_layers
from facekit.pipelines.exemplar.occlusion import OCCLUSIONS, Occlusion, propose_mask
from facekit.pipelines.exemplar.outputs import ExemplarInpaintOutput, ExemplarSweepOutput, cut_under_holes
from facekit.pipelines.restore import FaceRestorePipeline
from facekit.pipelines.restored_fill import check_restorer, restore_fill

Images = ImageInput | Sequence[ImageInput]
Masks = MaskInput | Sequence[MaskInput]


class ExemplarInpaintPipeline(FacekitPipeline):
    """Fills holes in faces in the manner of an exemplar face.

    Lu et al., Do inpainting yourself: generative facial inpainting guided by exemplars, Neurocomputing 617 (2025).
    The style encoder reads codes w off the exemplar, random codes w~ stand for the rest (Eq. 5.1), and the
    multi-style generator fills the hole under them and the photo's own global code (Eq. 5.2, 5.3).

    Args:
        style_encoder: exemplar -> codes.
        multi_style_generator: masked photo and codes -> filled photo.
        identity_encoder: optional; with it the output says how similar each filled face is to its exemplar.
        match_tones: default of the call's argument; saved with the model. The published method has none.
    """

    model_cpu_offload_seq = "style_encoder->multi_style_generator->identity_encoder"
    _optional_components = ["identity_encoder"]  # noqa: RUF012  diffusers reads a plain list

    style_encoder: StyleEncoder
    multi_style_generator: MultiStyleGenerator
    identity_encoder: IdentityEncoder | ArcFaceEncoder | None

    def __init__(
        self,
        style_encoder: StyleEncoder,
        multi_style_generator: MultiStyleGenerator,
        identity_encoder: IdentityEncoder | ArcFaceEncoder | None = None,
        match_tones: bool = False,
    ) -> None:
        super().__init__()
        self.register_modules(
            style_encoder=style_encoder,
            multi_style_generator=multi_style_generator,
            identity_encoder=identity_encoder,
        )
        self.register_to_config(match_tones=match_tones)

    @property
    def code_range(self) -> tuple[int, int]:
        """(first, n): codes of index first to n - 1 can come from an exemplar."""
        return self._encoder.code_range

    @property
    def _encoder(self) -> Encoder:
        return Encoder(self.style_encoder, self.multi_style_generator, self._execution_device)

    def check_inputs(
        self,
        exemplar_layers: Sequence[int] | None,
        exemplar_strength: float,
        truncation_psi: float,
        noise: str,
        num_images: int,
        max_batch_size: int,
        output_type: str,
    ) -> list[int]:
        """Refuse settings that cannot work, before anything is loaded; gives the exemplar's layers (phi).

        Raises:
            ValueError: with the offending value and what would do.
        """
        self.check_counts(num_images=num_images, max_batch_size=max_batch_size)
        check_output_type(output_type)
        self.check_choice("noise", noise, ("random", "fixed", "none"))
        if not isinstance(exemplar_strength, int | float) or not 0 <= exemplar_strength <= 1:
            raise Refusal(
                "setting",
                "{argument} is {value!r}; it must lie between 0 (random) and 1 (the exemplar).",
                argument=Argument("exemplar_strength"),
                value=exemplar_strength,
            )
        if not isinstance(truncation_psi, int | float) or not 0 <= truncation_psi < math.inf:
            raise Refusal(
                "setting",
                "{argument} is {value!r}; it must be 0 (the average) or more, 1 is no truncation.",
                argument=Argument("truncation_psi"),
                value=truncation_psi,
            )
        first, count = self.code_range
        if exemplar_layers is None:
            exemplar_layers = range(max(self.multi_style_generator.config.first_exemplar_style, first), count)
        return check_layers(exemplar_layers, range(first, count), "exemplar_layers")

    @torch.inference_mode()
    def __call__(
        self,
        image: Images | EncodedPhotos,
        mask: Masks | None = None,
        exemplar: Images | ExemplarCodes | None = None,
        *,
        second_exemplar: Images | ExemplarCodes | None = None,
        style_layers: int | Sequence[int] | None = None,
        exemplar_layers: Sequence[int] | None = None,
        exemplar_strength: float = 1.0,
        recover: Occlusion | None = None,
        sketch: Masks | None = None,
        aligned: bool = False,
        exemplar_aligned: bool | None = None,
        faces: str | Sequence[int] = "all",
        exemplar_face: str | int = "only",
        detector: str | Detector | None = None,
        known_faces: Sequence[Sequence[Face]] | None = None,
        num_images: int = 1,
        truncation_psi: float = 1.0,
        noise: Literal["random", "fixed", "none"] = "random",
        match_tones: bool | None = None,
        restore_with: FaceRestorePipeline | None = None,
        return_exemplars: bool = False,
        generator: Generators = None,
        z: torch.Tensor | None = None,
        watermark: bool = False,
        max_batch_size: int = 8,
        max_pixels: int | None = MAX_PIXELS,
        output_type: OutputType = "pil",
        return_dict: bool = True,
    ) -> ExemplarInpaintOutput | AsTuple:
        """Fill the holes of photos in the manner of exemplars. Pixels outside the mask come back bit-identical.

        A photo without colours, gray or toned as sepia is, stays without, whatever the exemplar's colours are
        (`facekit.images.tint`).

        Args:
            image: what `facekit.images.photo.load_image` takes, one or a list; or what `encode_photo` returned.
            mask: what `facekit.images.masks.load_mask` takes, one for all photos or one for each. Every face that
                the mask touches is filled; what it covers beyond the faces' crops stays, with a note.
            exemplar: photos too, or what `encode_exemplar` returned: one for all photos, one for each, or several
                for one photo.
            second_exemplar: one for all exemplars or one for each, to be mixed in.
            style_layers: with a second exemplar: a crossover k (codes before index k come from the first, the
                others from the second exemplar), or the indices of the codes that the second one gives (thesis
                Fig. 5.15). None: half and half. Low codes mean coarse, high ones fine attributes.
            exemplar_layers: phi of Eq. 5.1, the indices of the codes that come from exemplars; the others are
                random (Fig. 5.12). None: as the model was trained, from 4 on.
            exemplar_strength: below 1 these codes are mixed with random ones.
            recover: "glasses" or "lower_face" propose the mask from landmarks (guided recovery, Section 5.4.4);
                with a mask too, both are filled.
            sketch: strokes drawn into the hole, as a mask is given (lines of any width; dark ones on white paper
                too), one for all photos or one for each. Needs a model with a sketch channel (Section 5.4.3).
            aligned: the photos are aligned faces already: no detection, the whole picture is one square.
            exemplar_aligned: the exemplars are aligned faces already; None: as `aligned`.
            faces: which faces to fill: "all", "largest" or indices from left to right.
            exemplar_face: which face of an exemplar to take: "only" (there must not be several), "largest" or an index.
            detector: detector name or object for `facekit.faces.detect_faces`; None is the bundled one.
            known_faces: for each photo all its faces, if they were found before; then no photo is searched.
            num_images: candidates for each pair of photo and exemplar, from different random codes and noise.
            truncation_psi: below 1 random codes are drawn towards their average: less variety, fewer failures.
            noise: per-pixel noise after each convolution: "random", "fixed" (the model's stored maps) or "none".
            match_tones: remove steps in tone along the rim of the hole; the middle of a large one keeps
                what the exemplar gave, see `fades` of `facekit.pipelines.tones.match_tones`. None: as the model's
                configuration says.
            restore_with: a `FaceRestorePipeline` that goes over the filled faces, inside their holes, and draws their
                detail, see `facekit.pipelines.restored_fill`. The bundled models gain by it; None: as in the thesis.
            return_exemplars: also return the exemplars as they were cut, and their parts under the holes.
            generator: source of all randomness; a list has one for each pair. Results for a seed depend neither
                on the batch nor on the device.
            z: random vectors `[N, D]` instead of drawn ones, in the order pair, candidate, face.
            watermark: mark the changed pixels invisibly, see `facekit.provenance.watermark`.
            max_batch_size: largest number of squares the networks see at once.
            max_pixels: refuse larger photos before they are decoded; None lifts the limit.
            output_type: "pil", "photo", "np" or "pt", see `ExemplarInpaintOutput`.
            return_dict: False gives a tuple of the output's entries that are not None.

        Raises:
            FileNotFoundError: a photo, mask or exemplar does not exist.
            TypeError: one of an unknown kind.
            ValueError: bad settings; a picture that cannot be used (see `load_image`, `load_mask`); no face, or none
                under the mask; an exemplar with no face or several; codes or a crossover out of range; a sketch
                for a model without its channel; numbers of pictures that do not pair.
        """
        # 1. Check the settings
        layers = self.check_inputs(
            exemplar_layers,
            exemplar_strength,
            truncation_psi,
            noise,
            num_images,
            max_batch_size,
            output_type,
        )
        check_restorer(restore_with)
        if second_exemplar is None and style_layers is not None:
            raise ValueError(
                "style_layers says which codes a second exemplar gives: pass second_exemplar. "
                "Which codes come from the exemplar at all is exemplar_layers."
            )
        from_second = [] if second_exemplar is None else choose_second_layers(style_layers, layers)
        if exemplar is None:
            raise ValueError("exemplar is missing. Pass a photo of the face that the hole is filled after.")

        # 2. Read the pictures and find the faces; whatever is wrong with them shows here
        photos = self._plan_photos(
            image, mask, recover, sketch, aligned, faces, detector, known_faces, max_pixels
        )
        jobs = photos.jobs
        exemplar_aligned = aligned if exemplar_aligned is None else exemplar_aligned
        options = (exemplar_aligned, exemplar_face, detector, max_pixels)
        first = self._plan_exemplars(exemplar, *options, "exemplar")
        second = None
        if second_exemplar is not None:
            second = self._plan_exemplars(second_exemplar, *options, "second exemplar")
            if len(second) not in (1, len(first)):
                raise ValueError(
                    f"{len(second)} second exemplars for {len(first)} first ones. Pass one for all, or one for each."
                )
        pairs = pair_up(len(photos), len(first))
        generator = check_generators(generator, len(pairs), "pairs of photo and exemplar")

        # 3. Settle order and randomness: pair, candidate, face
        order = SampleOrder.of([len(job.squares) for job in jobs], num_images, [photo for photo, _ in pairs])
        sources, guides = order.sources, [pairs[owner][1] for owner in order.owners]
        z_shape = (len(order), self.multi_style_generator.config.style_dim)
        self.check_shape(z, z_shape, "z")

        filled: list[np.ndarray] = []
        similarities: list[float] = []
        if sources:
            device = self._execution_device
            generators = split_generators(generator, order.owners)
            z = self.draw_noise(z_shape, generators) if z is None else z.to(device)

            # 4. Encode what is not encoded yet
            codes = self._encoder.encode_exemplars(first, max_batch_size).to(device)
            squares = self._encoder.encode_photos(photos, max_batch_size)
            if second is not None:
                others = self._encoder.encode_exemplars(second, max_batch_size).to(device).expand_as(codes)
                chosen = [layer - self.code_range[0] for layer in from_second]
                codes = codes.clone()
                codes[:, chosen] = others[:, chosen]

            # 5. Fill under the mixed codes
            dtype = self.multi_style_generator.dtype
            encoded = EncodedFace(
                squares.features.global_code.to(device, dtype),
                squares.features.bottom.to(device, dtype),
                [skip.to(device, dtype) for skip in squares.features.skips],
            )

            def fill(part: slice) -> torch.Tensor:
                image, _, _ = self.multi_style_generator(
                    encoded=encoded.rows(sources[part]),
                    style_codes=codes[guides[part]].to(dtype),
                    z=z[part].to(dtype),
                    truncation_psi=truncation_psi,
                    exemplar_layers=layers,
                    exemplar_strength=exemplar_strength,
                    noise=noise,
                    generator=generators[part],
                    return_dict=False,
                )
                return image.float()

            predicted = run_in_parts(fill, len(order), max_batch_size)
            self.check_finite(predicted, dtype)
            known, holes = squares.known.to(device)[sources], squares.holes.to(device)[sources]
            result = predicted * holes + known * (1 - holes)
            if self.config["match_tones"] if match_tones is None else match_tones:
                result = tones.match_tones(result, known, holes, fades=True)
            if restore_with is not None:
                drawn = [strokes for job in jobs for strokes in job.drawn or [None] * len(job.squares)]
                lines = [drawn[source] for source in sources]
                result = restore_fill(restore_with, result, holes, generators, max_batch_size, strokes=lines)

            # 6. Measure how similar the faces are to their exemplars
            if self.identity_encoder is not None:
                similarities = self._compare(self.identity_encoder, result, first, guides, max_batch_size)
            tints = [tint for job in jobs for tint in job.tints]
            filled = to_pictures(result, [tints[source] for source in sources])

        # 7. Put the squares back into the photos
        extras: dict[str, Any] = {}
        if self.identity_encoder is not None:
            extras["similarities"] = [similarities[part] for _, part in order.results()]
        if return_exemplars:
            extras["exemplars"] = deliver_squares([face.image for face in first.faces], output_type)
            extras["exemplar_crops"] = cut_under_holes(jobs, first.faces, pairs, output_type)
        output = ExemplarInpaintOutput(
            images=deliver(self.finish(jobs, order, filled, watermark), output_type),
            faces=[jobs[photo].faces for photo, _ in pairs],
            notes=self._collect_notes(photos, first, second, pairs, output_type),
            **extras,
        )

        # 8. Let go of the device
        self.maybe_free_model_hooks()
        return output if return_dict else output.to_tuple()

    @torch.inference_mode()
    def sweep(
        self,
        image: ImageInput | EncodedPhotos,
        mask: MaskInput | None = None,
        exemplar: ImageInput | ExemplarCodes | None = None,
        second_exemplar: ImageInput | ExemplarCodes | None = None,
        *,
        crossovers: Sequence[int] | None = None,
        generator: torch.Generator | None = None,
        **options: Any,
    ) -> ExemplarSweepOutput:
        """Mix two exemplars with every crossover, random codes and noise being the same (thesis Fig. 5.15).

        Args:
            image, mask, exemplar, second_exemplar: one of each, as in the call.
            crossovers: codes before this index come from the first exemplar; None: from all of the second to all
                of the first.
            generator: source of the randomness that all results share.
            options: further arguments of the call.

        Raises:
            ValueError: several pictures, arguments that a sweep sets itself, or as the call does.
        """
        own = ("num_images", "style_layers", "output_type", "return_dict", "return_exemplars")
        taken = [name for name in own if name in options]
        if taken:
            raise ValueError(f"a sweep sets {', '.join(taken)} itself; leave it out.")
        if exemplar is None or second_exemplar is None:
            raise ValueError("a sweep mixes two exemplars: pass exemplar and second_exemplar.")
        defaults = {name: each.default for name, each in inspect.signature(self.__call__).parameters.items()}
        settings = defaults | options
        checked = ("exemplar_layers", "exemplar_strength", "truncation_psi", "noise", "max_batch_size")
        layers = self.check_inputs(
            **{name: settings[name] for name in checked}, num_images=1, output_type="pil"
        )
        if not layers:
            raise ValueError("exemplar_layers is empty: there is nothing to mix.")
        crossovers = list(range(layers[0], layers[-1] + 2)) if crossovers is None else list(crossovers)
        if not crossovers or not all(isinstance(crossover, Integral) for crossover in crossovers):
            raise ValueError(f"crossovers is {crossovers}; pass at least one whole number.")
        for crossover in crossovers:
            choose_second_layers(crossover, layers)

        reading = ("recover", "sketch", "aligned", "faces", "detector", "known_faces", "max_pixels")
        recover, sketch, aligned, faces, detector, known_faces, max_pixels = (
            settings[name] for name in reading
        )
        photo = self._plan_photos(
            image, mask, recover, sketch, aligned, faces, detector, known_faces, max_pixels
        )
        exemplar_aligned = settings["exemplar_aligned"]
        exemplar_aligned = aligned if exemplar_aligned is None else exemplar_aligned
        given = (exemplar_aligned, settings["exemplar_face"], detector, max_pixels)
        first = self._plan_exemplars(exemplar, *given, "exemplar")
        second = self._plan_exemplars(second_exemplar, *given, "second exemplar")
        if (len(photo), len(first), len(second)) != (1, 1, 1):
            raise ValueError("a sweep takes one photo and two exemplars; call it for each pair.")
        drawing = {
            name: value
            for name, value in options.items()
            if name not in (*reading, "exemplar_aligned", "exemplar_face")
        }

        for codes in (first, second):
            self._encoder.encode_exemplars(codes, settings["max_batch_size"])
        if photo.squares:
            self._encoder.encode_photos(photo, settings["max_batch_size"])
        seed = split_generators(check_generators(generator, 1), [0])[0].initial_seed()
        images: list[Image.Image] = []
        notes: list[Note] = []
        for crossover in crossovers:
            output = self(
                photo,
                exemplar=first,
                second_exemplar=second,
                style_layers=crossover,
                generator=torch.Generator().manual_seed(seed),
                **drawing,
            )
            images += expect_kind(output.images, Image.Image)
            notes = output.notes
        exemplars = deliver_squares([codes.faces[0].image for codes in (first, second)], "pil")
        return ExemplarSweepOutput(images=images, crossovers=crossovers, exemplars=exemplars, notes=notes)

    def propose_masks(
        self,
        image: Images,
        recover: Occlusion,
        *,
        aligned: bool = False,
        faces: str | Sequence[int] = "all",
        detector: str | Detector | None = None,
        max_pixels: int | None = MAX_PIXELS,
    ) -> list[np.ndarray]:
        """Where glasses ("glasses") or a face mask ("lower_face") sit, bool `[H, W]` for each photo.

        The masks follow from five landmarks, for the user to look at and correct. Arguments are those of the call.

        Raises:
            FileNotFoundError, TypeError: a photo does not exist or is of an unknown kind.
            ValueError: another kind of `recover`, or a photo without a face.
        """
        photos = load_images(image, max_pixels=max_pixels)
        return [propose_mask(photo, recover, aligned, faces, detector)[0] for photo in photos]

    @torch.inference_mode()
    def encode_exemplar(
        self,
        exemplar: Images,
        *,
        aligned: bool = False,
        face: str | int = "only",
        detector: str | Detector | None = None,
        max_batch_size: int = 8,
        max_pixels: int | None = MAX_PIXELS,
    ) -> ExemplarCodes:
        """Find and encode exemplars once, for many calls; arguments and errors as in the call."""
        self.check_counts(max_batch_size=max_batch_size)
        planned = self._plan_exemplars(exemplar, aligned, face, detector, max_pixels, "exemplar")
        self._encoder.encode_exemplars(planned, max_batch_size)
        self.maybe_free_model_hooks()
        return planned

    @torch.inference_mode()
    def encode_photo(
        self,
        image: Images,
        mask: Masks | None = None,
        *,
        recover: Occlusion | None = None,
        sketch: Masks | None = None,
        aligned: bool = False,
        faces: str | Sequence[int] = "all",
        detector: str | Detector | None = None,
        known_faces: Sequence[Sequence[Face]] | None = None,
        max_batch_size: int = 8,
        max_pixels: int | None = MAX_PIXELS,
    ) -> EncodedPhotos:
        """Find the holes' faces and encode them once, for many calls; arguments and errors as in the call."""
        self.check_counts(max_batch_size=max_batch_size)
        planned = self._plan_photos(
            image, mask, recover, sketch, aligned, faces, detector, known_faces, max_pixels
        )
        if planned.squares:
            self._encoder.encode_photos(planned, max_batch_size)
        self.maybe_free_model_hooks()
        return planned

    def _plan_photos(
        self,
        image: Images | EncodedPhotos,
        mask: Masks | None,
        recover: Occlusion | None,
        sketch: Masks | None,
        aligned: bool,
        faces: str | Sequence[int],
        detector: str | Detector | None,
        known_faces: Sequence[Sequence[Face]] | None,
        max_pixels: int | None,
    ) -> EncodedPhotos:
        if isinstance(image, EncodedPhotos):
            if mask is not None or recover is not None or sketch is not None:
                raise ValueError(
                    "an encoded photo has its mask and sketch already; leave mask, recover and sketch out."
                )
            return image
        config = self.multi_style_generator.config
        if mask is None and recover is None:
            raise ValueError(
                f"mask is missing. Pass one, or recover={' or recover='.join(map(repr, OCCLUSIONS))}."
            )
        if sketch is not None and not config.use_sketch:
            raise Refusal(
                "no-sketch-channel",
                "this model takes no sketch",
                "Load one that was trained with sketches, or leave it out",
            )
        photos = load_images(image, max_pixels=max_pixels)
        masks: Sequence[tuple[np.ndarray, list[Note]] | None] = [None] * len(photos)
        if mask is not None:
            masks = load_masks(mask, photos, max_pixels=max_pixels)
        sketches = read_sketches(sketch, photos, max_pixels)
        known = check_known_faces(known_faces, len(photos))
        jobs = [
            plan_photo(
                photo,
                hole,
                strokes,
                sample_size=config.sample_size,
                aligned=aligned,
                faces=faces,
                detector=detector,
                known_faces=found,
                recover=recover,
            )
            for photo, hole, strokes, found in zip(photos, masks, sketches, known, strict=True)
        ]
        return EncodedPhotos(jobs)

    def _plan_exemplars(
        self,
        exemplar: Images | ExemplarCodes,
        aligned: bool,
        face: str | int,
        detector: str | Detector | None,
        max_pixels: int | None,
        name: str,
    ) -> ExemplarCodes:
        first, count = self.code_range
        if isinstance(exemplar, ExemplarCodes):
            expected = [len(exemplar), count - first, self.style_encoder.config.style_dim]
            if exemplar.codes is None or list(exemplar.codes.shape) != expected:
                raise ValueError(
                    f"{name} was not encoded by this pipeline; codes of the shape {expected} are needed."
                )
            return exemplar
        size = self.multi_style_generator.config.sample_size
        return ExemplarCodes(
            find_references(
                exemplar,
                size,
                aligned=aligned,
                face=face,
                detector=detector,
                max_pixels=max_pixels,
                name=name,
            )
        )

    @staticmethod
    def _compare(
        identity: IdentityEncoder | ArcFaceEncoder,
        result: torch.Tensor,
        exemplars: ExemplarCodes,
        guides: list[int],
        max_batch_size: int,
    ) -> list[float]:
        """Identity similarity of each sample `[N, 3, S, S]` to its exemplar."""
        pictures = to_batch([face.image for face in exemplars.faces], result.device)[guides]
        dtype = identity.dtype

        def compare(part: slice) -> torch.Tensor:
            return identity.similarity(result[part].to(dtype), pictures[part].to(dtype))

        return run_in_parts(compare, len(result), max_batch_size).tolist()

    def _collect_notes(
        self,
        photos: EncodedPhotos,
        first: ExemplarCodes,
        second: ExemplarCodes | None,
        pairs: list[tuple[int, int]],
        output_type: str,
    ) -> list[Note]:
        """Notes on photos and exemplars, with the pictures' names in front when there are several."""
        notes = self.collect_notes(photos.jobs, output_type)
        for codes in (first,) if second is None else (first, second):
            for face in codes.faces:
                notes += [note.about(face.photo.name) if len(codes) > 1 else note for note in face.notes]
        for photo, guide in pairs:
            job, face = photos.jobs[photo], first.faces[guide]
            if job.squares and same_picture(job.photo, face.photo):
                what = "{name} is the photo itself: the hole is filled after what it hides"
                advice = "Choose another exemplar to change it"
                notes.append(Note("reference-is-photo", what, advice, name=face.photo.name))
        return notes
