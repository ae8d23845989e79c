"""The worlds, a module each: its ``__all__`` names the functions that build it, and `registry` finds them there."""
