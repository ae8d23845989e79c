"""Tests of the pure core and of the shell around it."""
