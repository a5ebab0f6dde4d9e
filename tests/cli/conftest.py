"""What tests of several commands share."""

import pytest

from tests.tiny.pipelines import tiny_restore_pipeline


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a small restoration model; files whose command wants another have their own."""
    folder = tmp_path_factory.mktemp("model")
    tiny_restore_pipeline(identity=False).save_pretrained(folder)
    return str(folder)
