"""Failures as users have them, produced for real: does the run itself say why, and what to do?"""
