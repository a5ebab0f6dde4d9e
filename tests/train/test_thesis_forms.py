"""Training in the thesis's form: tiny runs of every stage that has one, and the pipelines that they write."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from facekit import FaceEditPipeline, FaceRestorePipeline
from facekit.models.stylegan2 import StyleGAN2Generator
from tests.train import tiny_stages
from tests.train.test_stage_configs import CASES, CONFIGS, STAGES
from tests.train.tiny_faces import MULTIMODAL, label_maps, tiny_edit_guides
from tests.train.tiny_stages import curve, tiny_guides, write_config
from train.code_diffuser.config import CodeDiffuserConfig
from train.code_diffuser.trainer import CodeDiffuserTrainer
from train.engine.config import read_yaml
from train.engine.groups import merge, nest
from train.inpaint.config import InpaintConfig
from train.latent_warper.config import LatentWarperConfig
from train.latent_warper.trainer import LatentWarperTrainer
from train.multimodal.config import MultimodalConfig
from train.multimodal.networks import build_networks
from train.multimodal.trainer import MultimodalTrainer
from train.restorer.config import RestorerConfig
from train.restorer.trainer import RestorerTrainer

HAVE_A_FORM = ("code_diffuser", "restorer", "latent_warper", "multimodal")
OF_HAVING = [(path, name) for path, name in CASES if name in HAVE_A_FORM]
OF_HAVING += [(path, "inpaint") for path in sorted(CONFIGS.glob("inpaint/*.yaml"))]
OF_THE_THESIS = ("paper", "thesis", "thesis-large", "thesis-large-places365", "diverse")


@pytest.mark.parametrize(("path", "name"), OF_HAVING, ids=[f"{name}-{path.stem}" for path, name in OF_HAVING])
def test_presets_of_the_thesis_have_its_form(path: Path, name: str) -> None:
    config_class, needed = (STAGES | {"inpaint": (InpaintConfig, {})})[name]
    options = read_yaml(path)
    needed = needed if options.get("prompts", True) else {}
    config: Any = config_class(data="folder", output_dir="runs/x", **merge(nest(needed), options))
    assert config.form == ("thesis" if path.stem in OF_THE_THESIS else "published")
    with pytest.raises(ValueError, match="form must be one of published, thesis; got 'both'"):
        config_class(data="folder", output_dir="runs/x", **merge(nest(needed), options | {"form": "both"}))


def test_a_restoration_pipeline(tmp_path: Path, pictures: Path) -> None:
    """Code diffuser and restorer, one after the other; the pipeline that is written loads and restores."""
    guides = str(tiny_guides(tmp_path / "guides"))
    frozen = {"prior": guides, "style_encoder": guides}
    few = {"form": "thesis", "shots": 2, "flip": False, "learning_rate": 0.01, "pictures.identity_weight": 0}
    config = write_config(tmp_path / "diffuser", pictures, **frozen, **few, **{"pictures.perceptual": "none"})
    options = {"diffuser": {"num_blocks": 2}, "max_steps": 40, "batch_size": 4}
    tiny_stages.run(CodeDiffuserTrainer, CodeDiffuserConfig, config, tmp_path / "diffuser", **options)
    error = curve(tmp_path / "diffuser", "diffuser_codes")
    assert np.mean(error[-10:]) < 0.9 * np.mean(error[:5])

    diffuser = str(tmp_path / "diffuser" / "pipeline")
    losses = {"pictures.perceptual": "feature_matching", "adversarial.r1_every": 2, "l1_weight": 10}
    networks = {"restorer": {"global_dim": 16}, "discriminator": {"stddev_group": 2}}
    config = write_config(
        tmp_path / "restorer", pictures, **frozen, code_diffuser=diffuser, **few, **losses, **networks
    )
    run = partial(tiny_stages.run, RestorerTrainer, RestorerConfig, config)
    alone = {"pictures.perceptual": "none", "adversarial.weight": 0}
    run(tmp_path / "restorer", max_steps=20, sample_every=20, learning_rate=0.003, **alone)
    error = curve(tmp_path / "restorer", "restorer_l1")
    assert np.mean(error[-5:]) < 0.85 * np.mean(error[:2])

    folder = tmp_path / "restorer" / "pipeline"
    pipeline = FaceRestorePipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    assert pipeline.code_diffuser.config.form == pipeline.restorer.config.form == "thesis"
    assert pipeline.scheduler.config.prediction_type == "epsilon"
    photo = Image.open(pictures / "00.png").convert("RGB")
    pictures_of = [
        np.asarray(
            pipeline(photo, aligned=True, fidelity=0, generator=torch.Generator().manual_seed(0)).images[0]
        )
        for _ in range(2)
    ]
    assert pictures_of[0].std() > 0 and np.array_equal(*pictures_of)

    # Weights of one form do not go on in the other.
    with pytest.raises(ValueError, match=r"has the thesis form, .* say --form thesis"):
        run(tmp_path / "other", form="published", init_from=str(folder), max_steps=1)
    run(tmp_path / "same", init_from=str(folder), max_steps=1)

    # Nor do runs; one of before, whose checkpoints name no form, has the published one.
    with pytest.raises(ValueError, match="of a run with form thesis, not published: say --form thesis"):
        run(tmp_path / "same", form="published", max_steps=2)
    (told,) = (tmp_path / "same" / "checkpoints").glob("step-*/run.json")
    state = json.loads(told.read_text())
    del state["config"]["form"]
    told.write_text(json.dumps(state))
    with pytest.raises(ValueError, match="of a run with form published, not thesis: say --form published"):
        run(tmp_path / "same", max_steps=2)


def test_a_restorer_without_prompts(tmp_path: Path, pictures: Path) -> None:
    """The first stage, which gives zeros in place of codes and of the bank."""
    shape = {"sample_size": 16, "style_dim": 8, "channel_base": 128, "max_channels": 16, "global_dim": 16}
    plain = {"prompts": False, "pictures.perceptual": "none", "adversarial.weight": 0, "l1_weight": 1}
    plain["pictures.identity_weight"] = 0
    config = write_config(tmp_path, pictures, form="thesis", restorer=shape, **plain)
    written = tiny_stages.run(RestorerTrainer, RestorerConfig, config, tmp_path / "run", max_steps=1)
    assert all(value.isfinite().all() for value in written.values())


def test_an_edit_pipeline(tmp_path: Path, pictures: Path) -> None:
    """Latent warper, aggregation and refiner; the pipeline that is written loads and edits."""
    guides = str(tiny_edit_guides(tmp_path / "guides"))
    frozen = dict.fromkeys(("style_encoder", "prior", "pictures.identity_encoder"), guides)
    config = write_config(
        tmp_path / "w", pictures, **frozen, form="thesis", size=32, **{"pictures.perceptual": "none"}
    )
    warp = partial(tiny_stages.run, LatentWarperTrainer, LatentWarperConfig, config)
    warp(tmp_path / "warper", max_steps=1)
    warper = str(tmp_path / "warper" / "pipeline")
    with pytest.raises(ValueError, match="LatentWarper to start from has the thesis form"):
        warp(tmp_path / "other", form="published", init_from=warper)

    maps = str(label_maps(pictures, tmp_path / "maps"))
    config = write_config(
        tmp_path / "m",
        pictures,
        **MULTIMODAL
        | frozen
        | {"guidance.semantics_folder": maps, "latent_warper": warper, "form": "thesis"},
    )
    edit = partial(tiny_stages.run, MultimodalTrainer, MultimodalConfig, config)
    edit(tmp_path / "edit", max_steps=2, guide_size=32)
    folder = tmp_path / "edit" / "pipeline"
    pipeline = FaceEditPipeline.from_pretrained(folder)
    assert pipeline.latent_warper.config.form == pipeline.refiner.config.form == "thesis"
    assert pipeline.aggregation.config.mask_channel is False
    mask = np.zeros((16, 16), dtype=bool)
    mask[4:12, 4:12] = True
    photo = np.asarray(Image.open(pictures / "00.png").convert("RGB").resize((16, 16)))
    edited = np.asarray(pipeline(photo, mask, exemplar="self", aligned=True).images[0])
    assert np.array_equal(edited[~mask], photo[~mask]) and not np.array_equal(edited[mask], photo[mask])
    with pytest.raises(ValueError, match=r"has the thesis form, .* say --form thesis"):
        edit(tmp_path / "other", form="published", init_from=str(folder))


@pytest.mark.parametrize("ablation", list("bce"))
def test_ablations_of_the_refiner_have_the_form(ablation: str, tmp_path: Path, pictures: Path) -> None:
    prior = StyleGAN2Generator(**tiny_stages.PRIOR)
    config = MultimodalConfig(
        data=str(pictures),
        output_dir=str(tmp_path),
        max_steps=1,
        style_encoder="x",
        prior="x",
        form="thesis",
        ablation=ablation,
        aggregation=MULTIMODAL["aggregation"],
        refiner=MULTIMODAL["refiner"],
        without=["identity"],
    )
    _, refiner = build_networks(config, prior, print)
    codes = torch.randn(1, 6, 8)
    bank = prior(w_plus=codes, noise="fixed", feature_layer="conv").features
    assert refiner.config.form == "thesis"
    assert refiner(torch.randn(1, 4, 16, 16), codes, bank).shape == (1, 3, 16, 16)
