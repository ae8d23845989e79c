"""A continuous task with a deceiver in the ensemble."""
