"""Measurements, printed as tables; never assertions."""
