"""Training: a package for each network, launched by `-m train.NAME`, over `engine`, `data` and `starts`."""
