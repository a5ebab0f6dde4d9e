"""Fixtures that every test folder shares."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import facekit  # noqa: F401  mends torchvision, before a test module imports diffusers in front of facekit

# Results are recorded and compared in float32, whatever is fastest on the machine that runs the tests.
os.environ["FACEKIT_DTYPE"] = "float32"

ROOT = Path(__file__).resolve().parents[1]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
BROWSER_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--record",
        action="store_true",
        help="write tests/data/recorded anew, for the tests that compare with it, instead of comparing",
    )


@pytest.fixture(scope="session")
def recording(request: pytest.FixtureRequest) -> bool:
    """Whether results are recorded anew."""
    return request.config.getoption("--record")


def find_shared() -> Path | None:
    """The folder with face images and full goldens beside a developer's checkout, if it is there."""
    folder = ROOT.parent / "shared"
    return folder if (folder / "parity").is_dir() else None


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """Full goldens and face images; tests that need them are skipped in a plain clone."""
    folder = find_shared()
    if folder is None:
        pytest.skip("the shared data folder is not beside this checkout")
    return folder


@pytest.fixture(scope="session")
def faces_dir(shared_dir: Path) -> Path:
    """The synthetic faces (train/, val/, wild/)."""
    return shared_dir / "data" / "synthetic-faces-256"


@pytest.fixture(scope="session")
def browser() -> Iterator:
    """A headless Chrome or Chromium that is installed already."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    executable = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if executable is None:
        pytest.skip(f"no browser on PATH (looked for {', '.join(BROWSERS)})")
    with playwright.sync_playwright() as driver:
        chrome = driver.chromium.launch(executable_path=executable, headless=True, args=BROWSER_FLAGS)
        yield chrome
        chrome.close()
