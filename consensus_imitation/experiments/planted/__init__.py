"""A deceptive network among honest ones that learn, on a real task."""
