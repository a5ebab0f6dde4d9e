"""Pipelines."""

# The `facekit` command imports pipelines without the package's public names; they bring the registration.
from facekit import public as _public  # noqa: F401
