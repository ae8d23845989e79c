"""Demonstrators that need nobody: controllers, planners, and BabyAI's bot."""
