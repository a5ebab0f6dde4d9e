"""What training says of a model: `training.json` beside its networks."""

import json
from pathlib import Path
from typing import Any

RECORD = "training.json"


def read_record(pipeline: Path) -> dict[str, Any] | None:
    """Stage, steps, pictures, minutes, batch_size, device, complete and more, by name; None where there is none."""
    file = pipeline / RECORD
    return json.loads(file.read_text()) if file.is_file() else None
