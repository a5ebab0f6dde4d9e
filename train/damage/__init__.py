"""The damage finder."""
