"""Large folders and data sets on many devices: `accelerate launch -m facekit_cli.batch restore SOURCE -o OUT`."""
