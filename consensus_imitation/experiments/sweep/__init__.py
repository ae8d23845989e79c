"""How often the imitator asks, and how often it does harm, against k and alpha."""
