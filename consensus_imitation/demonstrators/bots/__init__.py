"""Demonstrators that need no person: controllers, planners, and BabyAI's bot."""
