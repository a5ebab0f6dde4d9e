"""What a metric raises when it cannot be computed here."""


class WeightsUnavailable(OSError):
    """The weights (or the optional package) that a metric needs are not here and cannot be fetched."""
