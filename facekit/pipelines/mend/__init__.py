"""Mending old photos: find what is damaged, fill it, restore the faces, bring back contrast."""
