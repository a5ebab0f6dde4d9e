"""The error of a metric that cannot be computed on this machine."""


class WeightsUnavailable(OSError):
    """The weights (or the optional package) that a metric needs are not here and cannot be fetched."""
