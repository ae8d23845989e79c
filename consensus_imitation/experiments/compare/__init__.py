"""Ways to imitate, side by side on a real task."""
