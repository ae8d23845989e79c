"""The deceptive-model suite with its results on disk."""
