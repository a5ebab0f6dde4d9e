"""Training: one launchable script per network, over the shared loop, data and configuration modules."""
