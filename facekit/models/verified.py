"""Base class of facekit's networks: `from_pretrained` that refuses damaged downloads."""

from pathlib import Path
from typing import Any, ClassVar, Self

from diffusers.models.modeling_utils import ModelMixin
from diffusers.utils import CONFIG_NAME
from huggingface_hub import try_to_load_from_cache

from facekit.hub_cache import check_downloads
from facekit.hub_errors import explained


class VerifiedModelMixin(ModelMixin):
    """diffusers' ModelMixin whose downloaded files are compared with the digests that the Hub announced.

    `_no_split_modules` of a network names its layers that read the weights of their own parts without calling these.
    What moves weights to a device piece by piece must move such a layer as a whole.
    """

    _no_split_modules: ClassVar[list[str]] = []

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **kwargs: Any) -> Self:
        """Load a network from a folder or from the Hub; all arguments are those of diffusers.

        Raises:
            OSError: there is no such model, the Hub cannot be reached, or what was downloaded is not what it
                announced.
        """
        subfolder = kwargs.get("subfolder") or ""
        folder = Path(pretrained_model_name_or_path, subfolder)
        if folder.is_dir():
            # Before loading: a pipeline passes its folder of the Hub's cache.
            check_downloads(folder)
            return super().from_pretrained(pretrained_model_name_or_path, **kwargs)
        try:
            with explained(pretrained_model_name_or_path, kwargs.get("revision")):
                return super().from_pretrained(pretrained_model_name_or_path, **kwargs)
        finally:
            # A damaged file may load, or fail with an error that does not tell why.
            config = try_to_load_from_cache(
                str(pretrained_model_name_or_path),
                f"{subfolder}/{CONFIG_NAME}".lstrip("/"),
                cache_dir=kwargs.get("cache_dir"),
                revision=kwargs.get("revision"),
            )
            if isinstance(config, str):
                check_downloads(Path(config).parent)
