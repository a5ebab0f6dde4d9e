"""What training and tables do to pictures: holes and degradation."""
