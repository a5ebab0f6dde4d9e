"""The Exemplar tab."""
