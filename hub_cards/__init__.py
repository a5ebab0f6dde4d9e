"""Model folders, one a Hub repository, as they are pushed; installed as `facekit.hub_cards`."""
