"""Model folders, one a Hub repository, as they are pushed; copied into the package where it is built (`setup.py`)."""
