"""Tests of the members' diversity and of near-duplicates ranked once."""
