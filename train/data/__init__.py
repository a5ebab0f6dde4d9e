"""What trainings read (pictures, label maps, modalities), and how it is changed on the way."""
