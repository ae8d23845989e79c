"""An ordinary training loop, and the same loop kept in k replicas that ask where they disagree."""
