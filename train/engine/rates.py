"""How a learning rate changes over a run."""

import math


def find_rate_share(step: float, max_steps: int, warm_up: float) -> float:
    """Share of the highest learning rate in a step (counted from 1): a line up from 0.04, half a cosine down to 0."""
    top = max(warm_up * max_steps, 1.0)
    if step <= top:
        return 0.04 + 0.96 * step / top
    return 0.5 + 0.5 * math.cos(math.pi * min((step - top) / max(max_steps - top, 1.0), 1.0))
