"""The whole family of small models by one command, `python -m train.starters`."""
