"""Members in processes of their own, which see nothing and can spoil nothing."""
