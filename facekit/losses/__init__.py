"""Training losses, one family a module."""
