"""The main job: a short sweep, a short suite, and a page that explains them."""
