"""What a user drew or said to guide an edit, read once, at the size of the photo."""
