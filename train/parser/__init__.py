"""The face parser."""
