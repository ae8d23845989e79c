"""Kinds of members that learn, side by side: what they cost, how well they do, how independently, and what they ask."""
