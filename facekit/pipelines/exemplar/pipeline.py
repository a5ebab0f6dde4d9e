"""`ExemplarInpaintPipeline`: holes in faces are filled after another face (EXE-GAN, thesis Chapter 5)."""

import math
from collections.abc import Sequence
from numbers import Integral
from typing import Any, Literal

import numpy as np
import torch
from diffusers.utils.torch_utils import randn_tensor

from facekit.images.masks import MaskInput
from facekit.images.photo import MAX_PIXELS, ImageInput
from facekit.images.tensors import check_output_type, deliver
from facekit.models.identity_encoder import IdentityEncoder
from facekit.models.multi_style import EncodedFace, MultiStyleGenerator
from facekit.models.style_encoder import StyleEncoder
from facekit.pipelines import tones
from facekit.pipelines.exemplar.encoding import ExemplarEncoding, Images, Masks
from facekit.pipelines.exemplar.occlusion import Occlusion
from facekit.pipelines.exemplar.outputs import (
    EncodedPhotos,
    ExemplarCodes,
    ExemplarInpaintOutput,
    ExemplarSweepOutput,
    crops_under_holes,
    labelled_notes,
)
from facekit.pipelines.exemplar.plan import check_layers, pair_up, second_layers
from facekit.pipelines.samples import (
    check_generators,
    deliver_squares,
    in_parts,
    order_samples,
    sample_generators,
    to_squares,
)


class ExemplarInpaintPipeline(ExemplarEncoding):
    """Fills holes in faces in the manner of an exemplar face.

    Lu et al., Do inpainting yourself: generative facial inpainting guided by exemplars, Neurocomputing 617 (2025).
    The style encoder reads codes w off the exemplar, random codes w~ stand for the rest (Eq. 5.1), and the
    multi-style generator fills the hole under them and the photo's own global code (Eq. 5.2, 5.3).

    Args:
        style_encoder: exemplar -> codes.
        multi_style_generator: masked photo and codes -> filled photo.
        identity_encoder: optional; with it the output tells how alike each filled face is to its exemplar.
        match_tones: default of the call's argument; saved with the model. The published method has none.
    """

    model_cpu_offload_seq = "style_encoder->multi_style_generator->identity_encoder"
    _optional_components = ["identity_encoder"]  # noqa: RUF012  diffusers reads a plain list

    def __init__(
        self,
        style_encoder: StyleEncoder,
        multi_style_generator: MultiStyleGenerator,
        identity_encoder: IdentityEncoder | None = None,
        match_tones: bool = False,
    ) -> None:
        super().__init__()
        self.register_modules(
            style_encoder=style_encoder,
            multi_style_generator=multi_style_generator,
            identity_encoder=identity_encoder,
        )
        self.register_to_config(match_tones=match_tones)

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
        if noise not in ("random", "fixed", "none"):
            raise ValueError(f"noise is {noise!r}; choose one of 'random', 'fixed', 'none'.")
        if not isinstance(exemplar_strength, int | float) or not 0 <= exemplar_strength <= 1:
            raise ValueError(
                f"exemplar_strength is {exemplar_strength!r}; it must lie between 0 (random) and 1 (the exemplar)."
            )
        if not isinstance(truncation_psi, int | float) or not 0 <= truncation_psi < math.inf:
            raise ValueError(
                f"truncation_psi is {truncation_psi!r}; it must be 0 (the average) or more, 1 is no truncation."
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
        detector: Any = None,
        num_images: int = 1,
        truncation_psi: float = 1.0,
        noise: Literal["random", "fixed", "none"] = "random",
        match_tones: bool | None = None,
        return_exemplars: bool = False,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        z: torch.Tensor | None = None,
        watermark: bool = False,
        max_batch_size: int = 8,
        max_pixels: int | None = MAX_PIXELS,
        output_type: Literal["pil", "photo", "np", "pt"] = "pil",
        return_dict: bool = True,
    ) -> ExemplarInpaintOutput | tuple:
        """Fill the holes of photos after exemplars. Pixels outside the mask come back bit-identical.

        A photo without colours, gray or toned as sepia is, stays without, whatever the exemplar's colours are
        (`facekit.pipelines.tint`).

        Args:
            image: what `facekit.images.photo.load_image` takes, one or a list; or what `encode_photo` returned.
            mask: what `facekit.images.masks.load_mask` takes, one for all photos or one for each. Every face that
                the mask touches is filled; what it covers beyond the faces' crops stays, with a note.
            exemplar: photos alike, or what `encode_exemplar` returned: one for all photos, one for each, or
                several for one photo.
            second_exemplar: one for all exemplars or one for each, to be mixed in.
            style_layers: with a second exemplar: a crossover k (codes before index k come from the first, the
                others from the second exemplar), or the indices of the codes that the second one gives (thesis
                Fig. 5.15). None: half and half. Low codes mean coarse, high ones fine attributes.
            exemplar_layers: phi of Eq. 5.1, the indices of the codes that come from exemplars; the others are
                random (Fig. 5.12). None: as the model was trained, from 4 on.
            exemplar_strength: below 1 these codes are mixed with random ones.
            recover: "glasses" or "lower_face" propose the mask from landmarks (guided recovery, Section 5.4.4);
                with a mask too, both are filled.
            sketch: strokes drawn into the hole, as a mask is given (thin lines; dark ones on white paper too),
                one for all photos or one for each. Needs a model with a sketch channel (Section 5.4.3).
            aligned: the photos are aligned faces already: no detection, the whole picture is one square.
            exemplar_aligned: so are the exemplars; None: what `aligned` says.
            faces: which faces to fill: "all", "largest" or indices from left to right.
            exemplar_face: which face of an exemplar counts: "only" (several are refused), "largest" or an index.
            detector: detector name or object for `facekit.faces.detect_faces`; None is the bundled one.
            num_images: candidates for each pair of photo and exemplar, from different random codes and noise.
            truncation_psi: below 1 random codes are drawn towards their average: less variety, fewer failures.
            noise: per-pixel noise after each convolution: "random", "fixed" (the model's stored maps) or "none".
            match_tones: take a step in tone along the rim away, see `facekit.pipelines.tones`; None does what
                the model's configuration says.
            return_exemplars: also return the exemplars as they were cut, and their parts under the holes.
            generator: source of all randomness; a list has one for each pair. Results for a seed depend neither
                on the batch nor on the device.
            z: random vectors `[N, D]` instead of drawn ones, in the order pair, candidate, face.
            watermark: mark the changed pixels invisibly, see `facekit.provenance.watermark`; command line and demo do.
            max_batch_size: largest number of squares the networks see at once.
            max_pixels: refuse larger photos before they are decoded; None lifts the limit.
            output_type: "pil", "photo", "np" or "pt", see `ExemplarInpaintOutput`.
            return_dict: False gives a tuple of the output's entries that are not None.

        Raises:
            FileNotFoundError: a photo, mask or exemplar does not exist.
            TypeError: one of an unknown kind.
            ValueError: bad settings; a picture that is refused (see `load_image`, `load_mask`); no face, or none
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
        if second_exemplar is None and style_layers is not None:
            raise ValueError(
                "style_layers says which codes a second exemplar gives: pass second_exemplar. "
                "Which codes come from the exemplar at all is exemplar_layers."
            )
        from_second = [] if second_exemplar is None else second_layers(style_layers, layers)
        if exemplar is None:
            raise ValueError("exemplar is missing. Pass a photo of the face that the hole is filled after.")

        # 2. Read the pictures and find the faces; whatever is wrong with them shows here
        if isinstance(image, EncodedPhotos):
            if mask is not None or recover is not None or sketch is not None:
                raise ValueError(
                    "an encoded photo has its mask and sketch already; leave mask, recover and sketch out."
                )
            photos = image
        else:
            photos = self._plan_photos(image, mask, recover, sketch, aligned, faces, detector, max_pixels)
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
        counts = [len(job.job.regions) for job in photos.jobs]
        starts = [sum(counts[:index]) for index in range(len(counts))]
        rows = [starts[photo] + place for photo, _ in pairs for place in range(counts[photo])]
        owners, places = order_samples([counts[photo] for photo, _ in pairs], num_images)
        sources = [rows[place] for place in places]
        guides = [pairs[owner][1] for owner in owners]
        count, width = len(sources), self.multi_style_generator.config.style_dim
        if z is not None and tuple(z.shape) != (count, width):
            raise ValueError(
                f"z has the shape {list(z.shape)}; {[count, width]} is needed, one row for each face and candidate."
            )

        filled, similarities = [], []
        if count:
            device = self._execution_device
            generators = sample_generators(generator, owners)
            if z is None:
                z = randn_tensor((count, width), generator=generators, device=device, dtype=torch.float32)

            # 4. Encode what is not encoded yet
            self._encode_exemplars(first, max_batch_size)
            self._encode_photos(photos, max_batch_size)
            codes = first.codes.to(device)
            if second is not None:
                self._encode_exemplars(second, max_batch_size)
                others = second.codes.to(device).expand_as(codes)
                chosen = [layer - self.code_range[0] for layer in from_second]
                codes = codes.clone()
                codes[:, chosen] = others[:, chosen]

            # 5. Fill under the mixed codes
            dtype, z = self.multi_style_generator.dtype, z.to(device)
            encoded = EncodedFace(
                photos.encoded.global_code.to(device, dtype),
                photos.encoded.bottom.to(device, dtype),
                [skip.to(device, dtype) for skip in photos.encoded.skips],
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

            predicted = in_parts(fill, count, max_batch_size)
            if not torch.isfinite(predicted).all():
                raise ValueError(
                    f"The networks gave NaN or infinity in {dtype}. "
                    "Load the pipeline with dtype=torch.float32 or torch.bfloat16."
                )
            known, holes = photos.known.to(device)[sources], photos.holes.to(device)[sources]
            result = predicted * holes + known * (1 - holes)
            if self.config.match_tones if match_tones is None else match_tones:
                result = tones.match_tones(result, known, holes)

            # 6. How alike are the faces to their exemplars?
            if self.identity_encoder is not None:
                similarities = self._similarities(result, first, guides, max_batch_size)
            tints = [tint for job in photos.jobs for tint in job.job.tints]
            filled = to_squares(result, [tints[source] for source in sources])

        # 7. Put the squares back into the photos
        images, alike, start = [], [], 0
        for photo, _ in pairs:
            job, number = photos.jobs[photo].job, counts[photo]
            for _ in range(num_images):
                squares = filled[start : start + number]
                images.append(job.painted(np.stack(squares), watermark) if number else job.photo)
                alike.append(similarities[start : start + number])
                start += number
        optional = {"similarities": alike} if self.identity_encoder is not None else {}
        if return_exemplars:
            optional["exemplars"] = deliver_squares([face.image for face in first.faces], output_type)
            optional["exemplar_crops"] = crops_under_holes(photos, first, pairs, output_type)
        output = ExemplarInpaintOutput(
            images=deliver(images, output_type),
            faces=[photos.jobs[photo].job.faces for photo, _ in pairs],
            notes=labelled_notes(photos, first, second, pairs, output_type),
            **optional,
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
        most = options.get("max_batch_size", 8)
        layers = self.check_inputs(
            options.get("exemplar_layers"),
            options.get("exemplar_strength", 1.0),
            options.get("truncation_psi", 1.0),
            options.get("noise", "random"),
            num_images=1,
            max_batch_size=most,
            output_type="pil",
        )
        if not layers:
            raise ValueError("exemplar_layers is empty: there is nothing to mix.")
        crossovers = list(range(layers[0], layers[-1] + 2)) if crossovers is None else list(crossovers)
        if not crossovers or not all(isinstance(crossover, Integral) for crossover in crossovers):
            raise ValueError(f"crossovers is {crossovers}; pass at least one whole number.")
        for crossover in crossovers:
            second_layers(crossover, layers)

        recover, sketch = options.pop("recover", None), options.pop("sketch", None)
        aligned, faces = options.pop("aligned", False), options.pop("faces", "all")
        exemplar_aligned = options.pop("exemplar_aligned", None)
        exemplar_aligned = aligned if exemplar_aligned is None else exemplar_aligned
        detector, max_pixels = options.pop("detector", None), options.pop("max_pixels", MAX_PIXELS)
        photo = image
        if not isinstance(image, EncodedPhotos):
            photo = self._plan_photos(image, mask, recover, sketch, aligned, faces, detector, max_pixels)
        given = (exemplar_aligned, options.pop("exemplar_face", "only"), detector, max_pixels)
        first = self._plan_exemplars(exemplar, *given, "exemplar")
        second = self._plan_exemplars(second_exemplar, *given, "second exemplar")
        if (len(photo), len(first), len(second)) != (1, 1, 1):
            raise ValueError("a sweep takes one photo and two exemplars; call it for each pair.")
        if image is photo and (mask is not None or recover is not None or sketch is not None):
            raise ValueError(
                "an encoded photo has its mask and sketch already; leave mask, recover and sketch out."
            )

        for codes in (first, second):
            self._encode_exemplars(codes, most)
        self._encode_photos(photo, most)
        seed = sample_generators(check_generators(generator, 1), [0])[0].initial_seed()
        images, notes = [], []
        for crossover in crossovers:
            output = self(
                photo,
                exemplar=first,
                second_exemplar=second,
                style_layers=crossover,
                generator=torch.Generator().manual_seed(seed),
                **options,
            )
            images += output.images
            notes = output.notes
        exemplars = deliver_squares([codes.faces[0].image for codes in (first, second)], "pil")
        return ExemplarSweepOutput(images=images, crossovers=crossovers, exemplars=exemplars, notes=notes)
