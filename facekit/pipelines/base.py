"""What all pipelines do: load models, read photos, run squares through networks in parts, deliver results.

The steps of a call: `load_images` -> `facekit.faces.jobs` (find faces, cut squares) -> `SampleOrder` (order and
randomness) -> `facekit.images.tensors.to_batch` -> the pipeline's own networks -> `to_pictures` ->
`FacekitPipeline.finish` (paint or paste, deliver).
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import cpu_offload
from accelerate.hooks import remove_hook_from_module
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.utils.torch_utils import randn_tensor
from safetensors import SafetensorError

from facekit.faces.detect import Face
from facekit.faces.jobs import PhotoJob
from facekit.hub.errors import explain_errors
from facekit.hub.memory import check_memory
from facekit.hub.number_type import AUTO, fastest_dtype
from facekit.hub.shelf import find_model
from facekit.images.photo import Photo
from facekit.images.tensors import masks_to_batch, to_batch, to_pictures
from facekit.models.base import SPREADING, VerifiedModelMixin
from facekit.models.precision import check_fits
from facekit.models.stylegan2 import StyleGAN2Generator
from facekit.notes import Argument, Note, Refusal

# What a call gives with `return_dict=False`: a tuple. It counts as anything, so that whoever leaves that argument alone
# need not tell the two apart.
AsTuple = Any

Generators = torch.Generator | list[torch.Generator] | tuple[torch.Generator, ...] | None
StepCallback = Callable[[Any, int, int, dict[str, torch.Tensor]], dict[str, torch.Tensor] | None]


@dataclass(frozen=True)
class SampleOrder:
    """The samples of a call, one for each square of each result, in the order pair, candidate, square.

    A pair is a photo with its exemplar; without exemplars every photo is a pair of its own.

    Attributes:
        photos: the photo of each pair.
        counts: how many squares each photo has.
        num_images: candidates of each pair.
        owners: the pair of each sample.
        sources: the square of each sample, counted over the squares of all photos.
        candidates: which candidate of its pair each sample belongs to, from 0.
    """

    photos: list[int]
    counts: list[int]
    num_images: int
    owners: list[int]
    sources: list[int]
    candidates: list[int]

    @classmethod
    def of(cls, counts: Sequence[int], num_images: int = 1, photos: Sequence[int] | None = None) -> Self:
        """Order the samples.

        Args:
            counts: how many squares each photo has.
            num_images: candidates of each pair.
            photos: the photo of each pair; by default each photo is one pair.
        """
        photos = range(len(counts)) if photos is None else photos
        first = np.cumsum([0, *counts])
        rows = [
            (owner, int(first[photo]) + place, candidate)
            for owner, photo in enumerate(photos)
            for candidate in range(num_images)
            for place in range(counts[photo])
        ]
        owners, sources, candidates = (
            (list(column) for column in zip(*rows, strict=True)) if rows else ([], [], [])
        )
        return cls(list(photos), list(counts), num_images, owners, sources, candidates)

    def __len__(self) -> int:
        return len(self.sources)

    def results(self) -> Iterator[tuple[int, slice]]:
        """The photo of each result, and which samples make it, in the order of the results."""
        start = 0
        for photo in self.photos:
            for _ in range(self.num_images):
                yield photo, slice(start, start + self.counts[photo])
                start += self.counts[photo]


def check_generators(
    generator: Generators, count: int, what: str = "photos"
) -> torch.Generator | list[torch.Generator] | None:
    """Check a call's sources of randomness: one, or a list with one for each of `count` photos.

    Args:
        generator: None: the global one of PyTorch.
        count: how many there must be in a list.
        what: what messages call those that are counted.

    Returns:
        What was given, a tuple as a list.

    Raises:
        TypeError: something else than generators.
        ValueError: a list of another length.
    """
    given: torch.Generator | list[torch.Generator] | None
    given = list(generator) if isinstance(generator, list | tuple) else generator
    for one in given if isinstance(given, list) else [given]:
        if not isinstance(one, torch.Generator | None):
            raise TypeError(
                f"generator is a {type(one).__name__}. Pass torch.Generator().manual_seed(SEED), or a list with one "
                f"for each of the {what}."
            )
    if isinstance(given, list) and len(given) != count:
        raise ValueError(f"{len(given)} generators for {count} {what}. Pass one, or one for each.")
    return given


def check_known_faces(
    known_faces: Sequence[Sequence[Face]] | None, count: int
) -> Sequence[Sequence[Face] | None]:
    """Check the faces that were found before in each of `count` photos.

    Returns:
        For each photo its faces; None for each where none were given, so that the photos are searched.

    Raises:
        ValueError: not one list of faces for each photo.
    """
    if known_faces is None:
        return [None] * count
    if len(known_faces) != count or any(isinstance(found, Face) for found in known_faces):
        raise ValueError(
            f"known_faces has {len(known_faces)} entries for {count} photos. Pass a list of faces for each photo."
        )
    return known_faces


def split_generators(
    generator: torch.Generator | list[torch.Generator] | None, owners: list[int]
) -> list[torch.Generator]:
    """Make one CPU generator for each sample, so that batches and devices do not change what is drawn.

    Args:
        generator: one for all samples, or one for each owner.
        owners: the owner of each sample; one after the other draws the seed of its generator.
    """
    generators = []
    for owner in owners:
        source = generator[owner] if isinstance(generator, list) else generator
        device = "cpu" if source is None else source.device
        seed = torch.randint(2**62, (1,), generator=source, device=device)
        generators.append(torch.Generator().manual_seed(int(seed)))
    return generators


def run_in_parts(compute: Callable[[slice], torch.Tensor], count: int, most: int) -> torch.Tensor:
    """Compute the rows 0 to `count` - 1, at most `most` at a time, and join them. `count` must be 1 or more."""
    return torch.cat([compute(slice(start, min(start + most, count))) for start in range(0, count, most)])


def draw_inversions(prior: StyleGAN2Generator, codes: torch.Tensor, size: int, most: int) -> list[np.ndarray]:
    """Let the prior draw codes `[N, n, D]`, at most `most` at a time, with its stored noise (thesis Fig. 3.7, 6.13).

    Returns:
        N pictures float32 `[size, size, 3]` in [0, 1].
    """

    def draw(part: slice) -> torch.Tensor:
        image, _, _ = prior(w_plus=codes[part].to(prior.dtype), noise="fixed", return_dict=False)
        return F.adaptive_avg_pool2d(image.float(), size)

    return to_pictures(run_in_parts(draw, len(codes), most))


def _device_of(device_map: Any) -> torch.device | None:
    """The one device that a `device_map` names, None where it names none or several."""
    if not isinstance(device_map, str | torch.device) or device_map in SPREADING:
        return None
    try:
        return torch.device(device_map)
    except RuntimeError:  # diffusers says what it takes
        return None


class FacekitPipeline(DiffusionPipeline):
    """What all pipelines of facekit share: the steps of a call, and errors that say what to do."""

    model_cpu_offload_seq: str | None = None  # type: ignore[assignment]  # diffusers' types know only its None
    _offload_device: torch.device | str
    _interrupt = False

    @property
    def interrupt(self) -> bool:
        """Whether the call that is running is to end after its present step; a callback may set it.

        Every call begins with False. It is diffusers' `_interrupt`.
        """
        return self._interrupt

    @interrupt.setter
    def interrupt(self, ends: bool) -> None:
        self._interrupt = ends

    @property
    def components(self) -> dict[str, Any]:
        """The networks, the scheduler and the values that are saved with the model, by the names of the arguments.

        `type(pipe)(**pipe.components)` is another pipeline with the same networks.
        """
        _, saved = self._get_signature_keys(self)
        return super().components | {name: self.config[name] for name in saved}

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike, **kwargs: Any) -> Self:
        """Load a pipeline from a folder or the Hub; all arguments are those of diffusers.

        "published", a name such as "exegan" and the authors' Hub id stand for the weights that the method's authors
        published: they are fetched and converted once, see `facekit.hub.shelf`.
        `dtype="auto"` is the number type in which networks are fastest on the processor, or on the device that
        `device_map` names (see `fastest_dtype`).

        Raises:
            OSError: there is no such model or file, or the download broke off.
            ValueError: files that are damaged, or of another pipeline; a model in a folder that does not fit into
                memory.
        """
        given = os.fspath(pretrained_model_name_or_path)
        kwargs |= {
            name: fastest_dtype(_device_of(kwargs.get("device_map")))
            for name in ("dtype", "torch_dtype")
            if kwargs.get(name) == AUTO
        }
        place = find_model(given, cls.__name__, **kwargs)
        if Path(place).is_dir():
            dtype = kwargs.get("dtype") or kwargs.get("torch_dtype")
            check_memory(place, given, dtype.itemsize if isinstance(dtype, torch.dtype) else None)
        try:
            return super().from_pretrained(place, **kwargs)
        except (
            SafetensorError,
            ArithmeticError,
            AttributeError,
            LookupError,
            RuntimeError,
            TypeError,
        ) as error:
            if isinstance(error, torch.OutOfMemoryError | NotImplementedError):
                raise
            raise ValueError(
                f"The model {pretrained_model_name_or_path} cannot be loaded: its files are damaged, or of something "
                f"else ({type(error).__name__}: {str(error)[:500]})."
            ) from error

    @classmethod
    def download(cls, pretrained_model_name: str, **kwargs: Any) -> str | os.PathLike:
        """Download a pipeline, or find it in the cache; all arguments are those of diffusers.

        Raises:
            OSError: there is no such model or revision, no access to it, the Hub cannot be reached, or the
                download broke off.
        """
        ask = not kwargs.get("local_files_only")
        with explain_errors(pretrained_model_name, kwargs.get("revision"), ask=ask) as options:
            return super().download(pretrained_model_name, **kwargs | options)

    def enable_sequential_cpu_offload(
        self, gpu_id: int | None = None, device: torch.device | str | None = None
    ) -> None:
        """Keep the weights on the CPU; those of each layer are on the device only while it computes.

        This needs least memory and most time. Arguments and errors are those of diffusers. Layers that read the weights
        of their own parts are moved as a whole.
        """
        super().enable_sequential_cpu_offload(gpu_id, device)  # type: ignore[arg-type]  # None is their default
        for network in self.components.values():
            whole = getattr(network, "_no_split_modules", None)
            if whole and hasattr(network, "_hf_hook"):
                remove_hook_from_module(network, recurse=True)
                cpu_offload(network, self._offload_device, preload_module_classes=whole)

    def enable_group_offload(
        self,
        onload_device: torch.device,
        *options: Any,
        exclude_modules: str | Sequence[str] | None = None,
        **named_options: Any,
    ) -> None:
        """Keep groups of layers on the CPU between their calls; arguments are diffusers'.

        Raises:
            ValueError: a network, not among `exclude_modules`, has layers that read the weights of their own parts;
                diffusers' groups cannot hold those together. Nothing is changed then.
        """
        excluded = [exclude_modules] if isinstance(exclude_modules, str) else list(exclude_modules or ())
        whole = [
            name
            for name, network in self.components.items()
            if name not in excluded and getattr(network, "_no_split_modules", None)
        ]
        if whole:
            raise ValueError(
                f"group offloading takes layers apart that {', '.join(whole)} cannot do without. Call "
                "enable_model_cpu_offload() instead, or enable_sequential_cpu_offload(), which needs less memory and "
                "more time."
            )
        named_options["exclude_modules"] = excluded
        super().enable_group_offload(onload_device, *options, **named_options)

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Move the networks to a device or number type, or both; all arguments are those of diffusers.

        In half precision they compute as after `from_pretrained(dtype=...)`.

        Raises:
            ValueError: a network holds numbers that are too large for float16. Nothing is changed then.
        """
        dtypes = [value for value in (*args, *kwargs.values()) if isinstance(value, torch.dtype)]
        networks = [part for part in self.components.values() if isinstance(part, VerifiedModelMixin)]
        for dtype, network in product(dtypes, networks):
            check_fits(network, dtype)
        return super().to(*args, **kwargs)

    @staticmethod
    def check_counts(**counts: Any) -> None:
        """Raise ValueError, naming the argument, where a count is no whole number of 1 or more."""
        for name, value in counts.items():
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                what = "{argument} is {value!r}; it must be a whole number, 1 or more."
                raise Refusal("setting", what, argument=Argument(name), value=value)

    @classmethod
    def check_optional_counts(cls, **counts: Any) -> None:
        """The same of counts that may be None, which leaves them to the model."""
        cls.check_counts(**{name: value for name, value in counts.items() if value is not None})

    @staticmethod
    def check_choice(name: str, value: Any, choices: Sequence[str]) -> None:
        """Raise ValueError, naming the argument, unless the value is one of `choices`."""
        if value not in choices:
            what = "{argument} is {value!r}; choose one of {choices}."
            known = ", ".join(map(repr, choices))
            raise Refusal("setting", what, argument=Argument(name), value=value, choices=known)

    def check_callback_inputs(self, names: Sequence[str]) -> None:
        """Raise ValueError where a callback asks for tensors that this pipeline does not hand out."""
        unknown = [name for name in names if name not in self._callback_tensor_inputs]
        if unknown:
            raise ValueError(
                f"callback_on_step_end_tensor_inputs has {unknown}; "
                f"known are {list(self._callback_tensor_inputs)}."
            )

    def call_back(
        self,
        callback: StepCallback | None,
        names: Sequence[str],
        step: int,
        timestep: int,
        **tensors: torch.Tensor,
    ) -> dict[str, torch.Tensor]:
        """Call the caller's function with the tensors in `names`; returns those that it wants replaced, by name."""
        if callback is None:
            return {}
        callback_kwargs = {}
        for name in names:
            callback_kwargs[name] = tensors[name]
        return callback(self, step, timestep, callback_kwargs) or {}

    @staticmethod
    def check_shape(tensor: torch.Tensor | None, shape: tuple[int, ...], name: str) -> None:
        """Raise ValueError, naming the argument, where a tensor was given that has another shape."""
        if tensor is not None and tuple(tensor.shape) != shape:
            raise ValueError(
                f"{name} has the shape {list(tensor.shape)}; {list(shape)} is needed, one row for each face "
                "and candidate."
            )

    def draw_noise(self, shape: tuple[int, ...], generators: list[torch.Generator]) -> torch.Tensor:
        """Standard normal numbers of `shape`, float32, each row from a generator of its own."""
        device = self._execution_device
        if not shape[0]:
            return torch.empty(shape, device=device)
        return randn_tensor(shape, generator=generators, device=device, dtype=torch.float32)

    @staticmethod
    def check_finite(images: torch.Tensor, dtype: torch.dtype) -> None:
        """Raise ValueError where networks of this number type gave NaN or infinity."""
        if not torch.isfinite(images).all():
            raise Refusal(
                "not-finite",
                "The networks gave NaN or infinity in {dtype}",
                "Load the pipeline with dtype=torch.float32 or torch.bfloat16",
                dtype=dtype,
            )

    def make_batch(self, jobs: Sequence[PhotoJob]) -> tuple[torch.Tensor, torch.Tensor]:
        """The squares of all photos `[N, 3, S, S]` in [-1, 1] and their holes `[N, 1, S, S]`, 1 = hole; float32."""
        squares = [square for job in jobs for square in job.squares]
        pictures = to_batch([square.image for square in squares], self._execution_device)
        return pictures, masks_to_batch([square.hole for square in squares], self._execution_device)

    def finish(
        self,
        jobs: Sequence[PhotoJob],
        order: SampleOrder,
        pictures: Sequence[np.ndarray],
        watermark: bool,
        keeps_detail: bool = False,
    ) -> list[Photo]:
        """The results: each photo with its samples' pictures float32 `[S, S, 3]` in [0, 1] painted into its holes."""
        return [jobs[photo].paint(pictures[part], watermark, keeps_detail) for photo, part in order.results()]

    @staticmethod
    def collect_notes(jobs: Sequence[PhotoJob], output_type: str) -> list[Note]:
        """The notes of all photos for a result of this type, with the photos' names in front when there are several."""
        return [
            note for place, job in enumerate(jobs) for note in job.label_notes(place, len(jobs), output_type)
        ]
