"""A user's file that belongs to no package."""

from tests.experiments.own_place import make

__all__ = ["make"]
