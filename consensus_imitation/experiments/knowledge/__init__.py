"""What members know and do not use: does an imitator that asks them how to act learn it?"""
