"""The `facekit` program: commands, batches, evaluation and user studies on top of the library."""
