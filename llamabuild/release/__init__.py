"""Released wheels."""
