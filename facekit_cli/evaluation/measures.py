"""The columns of tables: what each metric needs, and how it becomes a number or says why there is none."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from facekit.metrics import (
    WeightsUnavailable,
    cosine_similarity,
    frechet_distance,
    identity_distance,
    inception_discriminative_scores,
    kernel_distance,
    psnr,
    score_landmarks,
    ssim,
)
from facekit_cli.errors import UsageError

UNAVAILABLE = "weights not available"
FEATURE_METRICS = ("fid", "fid-reference", "u-ids", "p-ids")  # those that look through --features
IDENTITY_METRICS = ("idd", "csim")  # those that look through --identity
DISTANCES = {"FID": frechet_distance, "KID": kernel_distance}


@dataclass(frozen=True)
class Metric:
    """One column's kind.

    Attributes:
        title: its name without the network.
        better: 1 more, -1 less.
        digits: after the point.
        percent: shares are shown times 100.
        network: whose features it compares, where it is always the same one; it stands in the title.
        reference: outputs are compared with other real pictures, not with the undamaged ones.
    """

    title: str
    better: int
    digits: int
    percent: bool = False
    network: str = ""
    reference: bool = False

    @property
    def name(self) -> str:
        """The title with the network, such as "FID (Lite0)"."""
        return f"{self.title} ({self.network})" if self.network else self.title


METRICS = {
    "fid": Metric("FID", -1, 2),
    "fid-reference": Metric("FID", -1, 2, reference=True),
    "u-ids": Metric("U-IDS", 1, 2, percent=True),
    "p-ids": Metric("P-IDS", 1, 2, percent=True),
    "niqe": Metric("NIQE", -1, 2),
    "psnr": Metric("PSNR", 1, 2),
    "ssim": Metric("SSIM", 1, 4),
    "lpips": Metric("LPIPS", -1, 4),
    "idd": Metric("IDD", -1, 3),
    "csim": Metric("CSIM", 1, 3),
    "dsr": Metric("DSR", 1, 2, percent=True),
    "nme": Metric("NME", -1, 2, percent=True),
    "emotion": Metric("Accuracy", 1, 2, percent=True),
    "fid-lite0": Metric("FID", -1, 2, network="Lite0"),
    "kid-lite0": Metric("KID", -1, 5, network="Lite0"),
    "fid-lite0-reference": Metric("FID", -1, 2, network="Lite0", reference=True),
    "kid-lite0-reference": Metric("KID", -1, 5, network="Lite0", reference=True),
    "imagenet-distance": Metric("ImageNet distance", -1, 4),
}


@dataclass(frozen=True)
class Cell:
    """A number, or why there is none: `missing` is short and stands in the table, `reason` goes below it."""

    value: float | None = None
    missing: str = ""
    reason: str = ""


@dataclass
class Networks:
    """The networks that metrics look through; each is loaded once, when first needed.

    Attributes:
        features: "style=FOLDER" (a substitute, named in titles) or "inception=FILE"; empty: Inception.
        identity: folder or Hub id of an `IdentityEncoder` or `ArcFaceEncoder`, or of a pipeline with one.
        landmarks: "five-point" (bundled) or "fan".
        lpips_net: backbone of LPIPS.
        device: where they run.
    """

    features: str = ""
    identity: str = ""
    landmarks: str = "five-point"
    lpips_net: str = "vgg"
    device: str = "cpu"
    _kept: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        kind, separator, source = self.features.partition("=")
        if self.features and (kind not in ("style", "inception") or not separator or not source):
            raise UsageError(f"--features is {self.features!r}; say style=FOLDER or inception=FILE")
        if kind == "inception" and not Path(source).is_file():
            raise UsageError(f"--features {source} is no file")
        if self.identity and Path(self.identity).is_file():
            raise UsageError(
                f"--identity {self.identity} is a file; `facekit convert arcface {self.identity} --output DIR` makes "
                "the folder that is needed of model_ir_se50.pth"
            )
        if self.identity and not Path(self.identity).is_dir() and self.identity.count("/") != 1:
            raise UsageError(f"--identity {self.identity} is no folder, and no model on the Hub (ORG/NAME)")
        if self.landmarks not in ("five-point", "fan"):
            raise UsageError(f"--landmarks is {self.landmarks!r}; choose five-point or fan")

    def title(self, metric: str, paired_too: bool = False) -> str:
        """Head of a column; a substitute network stands in it."""
        known = METRICS[metric]
        said = [known.network] if known.network else []
        if known.title in DISTANCES and paired_too and not known.reference:
            said.append("paired")
        if known.reference:
            said.append("to the reference")
        if metric in FEATURE_METRICS and self.features.startswith("style="):
            said.append(f"features: {Path(self.features.partition('=')[2]).name}")
        if metric in IDENTITY_METRICS and self.identity:
            said.append(f"identity: {Path(self.identity).name}")
        if metric in ("dsr", "nme"):
            said.append("FAN" if self.landmarks == "fan" else "five-point detector")
        if metric == "lpips" and self.lpips_net != "vgg":
            said.append(self.lpips_net)
        inside = f" ({', '.join(said)})" if said else ""
        return f"{known.title}{inside} {'↑' if known.better > 0 else '↓'}{' %' if known.percent else ''}"

    def check(self, metrics: Sequence[str]) -> None:
        """Load the networks that the user named. Raises UsageError where they cannot be loaded."""
        if self.features and set(metrics) & set(FEATURE_METRICS):
            self.get("features")
        if self.identity and set(metrics) & set(IDENTITY_METRICS):
            self.get("identity")

    def get(self, name: str) -> Any:
        """A network by its use; the same WeightsUnavailable each time where it cannot be had."""
        if name not in self._kept:
            try:
                self._kept[name] = self._load(name)
            except WeightsUnavailable as error:
                self._kept[name] = error
            except (OSError, ValueError) as error:
                raise UsageError(f"the network of {name} cannot be loaded: ", error) from error
        if isinstance(self._kept[name], WeightsUnavailable):
            raise self._kept[name]
        return self._kept[name]

    def _load(self, name: str) -> Any:
        from facekit.metrics import networks

        if name == "features":
            kind, _, source = self.features.partition("=")
            if kind == "style":
                return _in_chunks(networks.style_features(source, self.device))
            return _in_chunks(networks.inception_features(source or None, self.device))
        if name == "Lite0":
            return _in_chunks(networks.lite0_features(self.device))
        if name == "identity":
            if not self.identity:
                raise WeightsUnavailable("no identity network was named; say --identity FOLDER")
            try:
                return _in_chunks(networks.identity_embeddings(self.identity, self.device))
            except (OSError, ValueError) as error:
                raise UsageError(f"--identity {self.identity} cannot be loaded: ", error) from error
        if name == "lpips":
            return networks.lpips_distance(self.lpips_net, self.device)
        if name == "imagenet-distance":
            return networks.imagenet_distance(self.device)
        if name == "niqe":
            return networks.niqe_score(self.device)
        if name == "emotion":
            return networks.emotion_recogniser(device=self.device)
        return five_points if self.landmarks == "five-point" else networks.fan_landmarks(self.device)


@dataclass
class Results:
    """A row's outputs for one set of inputs, picture by picture; all read when asked for.

    Attributes:
        output, truth, exemplar: picture `i`, uint8 [S, S, 3].
        count: how many.
        reference: real pictures for the unpaired FID; None: there are none.
        key: of the truths, whose features, landmarks and emotions are computed once for all rows.
    """

    output: Callable[[int], np.ndarray]
    truth: Callable[[int], np.ndarray]
    exemplar: Callable[[int], np.ndarray | None]
    count: int
    reference: Sequence[Callable[[], np.ndarray]] | None
    key: str


class Measurer:
    """Fills cells; keeps what many rows share."""

    def __init__(self, networks: Networks) -> None:
        self.networks = networks
        self._kept: dict[tuple[str, str], Any] = {}

    def measure(self, metrics: Sequence[str], results: Results) -> dict[str, Cell]:
        """A cell for each metric; what cannot be had says so and does not stop the others."""
        own: dict[str, Any] = {}
        cells = {}
        for metric in metrics:
            try:
                cells[metric] = Cell(self._value(metric, results, own))
            except WeightsUnavailable as error:
                cells[metric] = Cell(missing=UNAVAILABLE, reason=str(error))
            except ImportError as error:
                cells[metric] = Cell(missing="package missing", reason=str(error))
            except NotMeasured as error:
                cells[metric] = Cell(missing=str(error.args[0]), reason=str(error.args[1]))
        return cells

    def _value(self, metric: str, results: Results, own: dict[str, Any]) -> float:
        if metric in FEATURE_METRICS or METRICS[metric].network:
            return self._distribution(metric, results, own)
        indices = range(results.count)
        if metric in ("psnr", "ssim"):
            measure = psnr if metric == "psnr" else ssim
            return float(np.mean([measure(results.output(i), results.truth(i)) for i in indices]))
        if metric in ("lpips", "imagenet-distance"):
            distance = self.networks.get(metric)
            pairs = ((results.output(i)[None], results.truth(i)[None]) for i in indices)
            return float(np.mean([float(distance(*pair)[0]) for pair in pairs]))
        if metric == "niqe":
            scores = self.networks.get("niqe")
            return float(np.mean([scores(results.output(i)[None])[0] for i in indices]))
        if metric in IDENTITY_METRICS:
            return self._identity(metric, results, own)
        if metric in ("dsr", "nme"):
            return self._landmarks(metric, results, own)
        return self._emotion(results)

    def _identity(self, metric: str, results: Results, own: dict[str, Any]) -> float:
        """IDD to the exemplar, or CSIM to the undamaged face, each pair by itself."""
        embed = self.networks.get("identity")
        if "identity" not in own:
            own["identity"] = embed(results.output, results.count)
        theirs = {"idd": results.exemplar, "csim": results.truth}[metric]
        known = self._once(f"identity of {metric}", results.key, lambda: embed(theirs, results.count))
        compare = {"idd": identity_distance, "csim": cosine_similarity}[metric]
        return float(compare(own["identity"], known).mean())

    def _once(self, kind: str, key: str, make: Callable[[], Any]) -> Any:
        if (kind, key) not in self._kept:
            self._kept[kind, key] = make()
        return self._kept[kind, key]

    def _distribution(self, metric: str, results: Results, own: dict[str, Any]) -> float:
        known = METRICS[metric]
        network = known.network or "features"
        features = self.networks.get(network)
        if results.count < 2:
            raise NotMeasured("two pictures needed", "a distribution needs two pictures or more")
        reference = results.reference if known.reference else None
        if known.reference and reference is None:
            raise NotMeasured(
                "no reference", f"the unpaired {known.name} needs other real pictures: say --reference FOLDER"
            )
        if network not in own:
            own[network] = features(results.output, results.count)
        if reference is None:
            real = self._once(network, results.key, lambda: features(results.truth, results.count))
        else:
            name = f"{len(reference)} of {results.key.split('/')[0]}"
            real = self._once(
                f"{network} reference", name, lambda: features(lambda i: reference[i](), len(reference))
            )
        if known.title in DISTANCES:
            return DISTANCES[known.title](real, own[network])
        if "ids" not in own:
            own["ids"] = inception_discriminative_scores(real, own[network])
        return own["ids"][0 if metric == "u-ids" else 1]

    def _landmarks(self, metric: str, results: Results, own: dict[str, Any]) -> float:
        find = self.networks.get("landmarks")
        truths = self._once(
            "landmarks", results.key, lambda: [find(results.truth(i)) for i in range(results.count)]
        )
        known = [i for i, points in enumerate(truths) if points is not None]
        if not known:
            raise NotMeasured("no face found", "the detector finds no face in any undamaged picture")
        if "landmarks" not in own:
            truth = [truths[i] for i in known]
            eyes = (0, 1) if len(truth[0]) == 5 else (36, 45)
            found = [_near(find(results.output(i)), truths[i], eyes) for i in known]
            own["landmarks"] = score_landmarks(found, truth, eyes)
        scores = own["landmarks"]
        if metric == "nme" and scores.success_rate == 0:
            raise NotMeasured("no face found", "the detector finds no face in any output")
        return scores.success_rate if metric == "dsr" else scores.error

    def _emotion(self, results: Results) -> float:
        recognise = self.networks.get("emotion")
        indices = range(results.count)
        truth = self._once("emotion", results.key, lambda: recognise([results.truth(i) for i in indices]))
        found = recognise([results.output(i) for i in indices])
        return float(np.mean([a == b for a, b in zip(found, truth, strict=True)]))


class NotMeasured(Exception):
    """(short text for the cell, reason)."""


def five_points(picture: np.ndarray) -> np.ndarray | None:
    """Five landmarks [5, 2] of the largest face, by the bundled detector; None where it finds none."""
    from facekit.faces import detect_faces

    found = detect_faces(np.ascontiguousarray(picture), faces="largest", turned=False)
    return found[0].landmarks if found else None


def _near(points: np.ndarray | None, truth: np.ndarray, eyes: tuple[int, int]) -> np.ndarray | None:
    """A face found elsewhere (further off than the eyes are apart) is not the face."""
    if points is None:
        return None
    unit = np.linalg.norm(truth[eyes[1]] - truth[eyes[0]])
    return points if np.linalg.norm(points - truth, axis=1).mean() < unit else None


def _in_chunks(network: Callable[[np.ndarray], np.ndarray]) -> Callable[[Any, int], np.ndarray]:
    from facekit.metrics.networks import features_of

    return lambda read, count: features_of(network, map(read, range(count)))


def mean_cell(cells: Sequence[Cell]) -> Cell:
    """The mean of cells; missing where one of them is."""
    for cell in cells:
        if cell.value is None:
            return cell
    return Cell(float(np.mean([cell.value for cell in cells])))


def show(metric: str, cell: Cell) -> str:
    """A cell's text."""
    if cell.value is None:
        return cell.missing
    known = METRICS[metric]
    return f"{cell.value * (100 if known.percent else 1):.{known.digits}f}"
