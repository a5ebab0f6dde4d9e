"""What the tabs share: models, limits, files that are swept, drawing, galleries."""
