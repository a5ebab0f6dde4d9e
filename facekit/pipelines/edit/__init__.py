"""FACEMUG: local edits by sketch, semantic map, colour, exemplar, text, attribute and pose."""
