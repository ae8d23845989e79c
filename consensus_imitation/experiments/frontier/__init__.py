"""Fewer answers: what each way to train and to select costs in unsafe episodes."""
