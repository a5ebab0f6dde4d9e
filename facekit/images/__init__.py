"""A picture and all its modes: read once, worked on as numbers, given back as it came."""
