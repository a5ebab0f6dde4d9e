"""The Old photo tab."""
