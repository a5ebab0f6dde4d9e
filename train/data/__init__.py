"""What trainings read: pictures, label maps, modalities, and what is done to them."""
