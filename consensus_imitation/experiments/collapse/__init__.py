"""What becomes of the posterior when all members learn."""
