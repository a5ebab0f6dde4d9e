"""Side-by-side studies: people compare methods' outputs without knowing which is whose (thesis tables 4.2 and 6.3)."""
