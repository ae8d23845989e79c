"""What happens to the posterior when all members learn."""
