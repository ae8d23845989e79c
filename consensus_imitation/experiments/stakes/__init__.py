"""Low stakes and high: where online training is enough, and where one has to ask before acting."""
