"""Stores on other machines: what a team shares."""
