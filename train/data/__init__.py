"""What trainings read, pictures, label maps, modalities, and how these are changed."""
