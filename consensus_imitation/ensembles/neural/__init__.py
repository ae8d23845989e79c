"""Members that are networks and learn."""
