"""The search for directions from beginning to end: codes, directions, and what is written of them."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from facekit.models.style_directions import StyleDirections
from facekit.models.style_encoder import StyleEncoder
from facekit.models.stylegan2 import StyleGAN2Generator
from facekit.pipelines.sample import load_style_codes
from train.data.images import fit_square, to_tensor
from train.directions.boundaries import Boundaries
from train.directions.checks import measure_in_pictures, shrink_prior, write_sheet
from train.directions.config import DirectionsConfig
from train.directions.fits import CodeSpace, factorise
from train.directions.labels import read_labels
from train.engine.stage import load_component


@torch.inference_mode()
def encode_pictures(
    encoder: StyleEncoder, files: list[Path], batch_size: int, mirror: bool
) -> dict[str, Tensor]:
    """Encode pictures: `w_plus` [M, n, D], and with `mirror` `w_plus_mirrored` of their mirror images."""
    found: dict[str, list[Tensor]] = {"w_plus": []} | ({"w_plus_mirrored": []} if mirror else {})
    size = encoder.config.sample_size
    for start in range(0, len(files), batch_size):
        images = []
        for file in files[start : start + batch_size]:
            images.append(to_tensor(fit_square(file, max(size, 256), None)))
        batch = torch.stack(images)
        found["w_plus"].append(encoder(batch).float())
        if mirror:
            found["w_plus_mirrored"].append(encoder(batch.flip(3)).float())
    return {name: torch.cat(parts) for name, parts in found.items()}


def write_directions(config: DirectionsConfig) -> None:
    """Find directions as the options say, and write them, a sheet and a report to `output_dir`.

    Raises:
        ValueError: labels, codes or options do not fit each other.
        OSError: networks, pictures or files are missing.
    """
    output = Path(config.output_dir)
    prior = encoder = boundaries = None
    if config.prior is not None:
        prior = load_component(StyleGAN2Generator, config.prior, "prior").eval()
    if config.encoder is not None:
        encoder = load_component(StyleEncoder, config.encoder, "style_encoder").eval()
    codes: dict[str, Tensor] = {} if config.codes is None else load_file(config.codes)
    if config.codes is not None and "w_plus" not in codes:
        raise ValueError(f"{config.codes} has no tensor 'w_plus'; it has {', '.join(codes)}")
    rows = read_labels(config.labels) if config.labels is not None else []
    if not codes and config.data is not None and encoder is not None:
        files = [Path(config.data, row["file_name"]) for row in rows]
        codes = encode_pictures(encoder, files, config.batch_size, config.mirror)
        output.mkdir(parents=True, exist_ok=True)
        save_file(codes, output / "codes.safetensors")

    report: dict[str, Any] = {}
    if config.method == "boundary":
        boundaries = Boundaries(config, rows, codes)
        directions = boundaries.find_directions(codes["w_plus"].shape[1])
        report["attributes"] = boundaries.report
    elif config.method == "factorise":
        found = factorise(prior, config.layers, config.count, config.scale)
        directions = {f"factor_{index}": value for index, value in enumerate(found, 1)}
    else:
        space = CodeSpace.fit(codes["w_plus"] if codes else load_known_codes(config, prior), config.count)
        report["deviations"] = space.deviations.tolist()
        found = config.scale * space.directions
        directions = {f"component_{index}": value for index, value in enumerate(found, 1)}

    new = directions
    if config.add_to is not None:
        known = load_component(StyleDirections, config.add_to, "directions")
        directions = {name: known.direction(name) for name in known.names} | directions
    output.mkdir(parents=True, exist_ok=True)
    count = next(iter(directions.values())).shape[0]
    StyleDirections.from_tensors(directions, count).save_pretrained(output / "directions")
    faces = choose_codes(config, prior, codes, rows)
    if faces is not None:
        prior = shrink_prior(prior, config.preview_size)
        if config.sheet_faces > 0:
            write_sheet(output / "sheet.png", prior, faces[: config.sheet_faces], new)
        if boundaries is not None and encoder is not None and config.measured_faces > 0:
            measured = faces[: config.measured_faces]
            report["in_pictures"] = measure_in_pictures(boundaries.score, new, measured, prior, encoder)
    (output / "report.json").write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report, indent=1))
    print(f"wrote {output / 'directions'}")


def load_known_codes(config: DirectionsConfig, prior: StyleGAN2Generator) -> Tensor:
    """Codes [M, n, D] that lie beside the prior's weights, else random ones of its mapping network."""
    stored = load_style_codes(config.prior)
    if stored is not None:
        return stored.float()
    generator = torch.Generator().manual_seed(config.seed)
    with torch.inference_mode():
        w = prior.mapping(torch.randn(config.samples, prior.config.style_dim, generator=generator))
    return w[:, None].expand(-1, prior.num_styles, -1)


def choose_codes(
    config: DirectionsConfig,
    prior: StyleGAN2Generator | None,
    codes: dict[str, Tensor],
    rows: list[dict[str, Any]],
) -> Tensor | None:
    """Choose codes to look at: those held out, else all; None without a prior."""
    if prior is None:
        return None
    if not codes:
        return load_known_codes(config, prior)
    held = [index for index, row in enumerate(rows) if row.get("held_out")]
    return codes["w_plus"][held or slice(None)]
