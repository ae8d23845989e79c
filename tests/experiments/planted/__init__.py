"""Tests of the planted deceptive network."""
