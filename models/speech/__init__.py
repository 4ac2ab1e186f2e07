"""Voices: engines and what they share."""
