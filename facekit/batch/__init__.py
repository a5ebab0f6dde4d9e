"""Large folders and data sets on many devices: `accelerate launch -m facekit.batch restore SOURCE -o OUT`."""
