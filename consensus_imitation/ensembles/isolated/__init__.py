"""Members in separate processes, which do not see this process and cannot break it."""
