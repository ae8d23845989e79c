"""Predicted against observed: the theorems' bounds beside what happens."""
