"""What every request passes: its id, who calls, limits, repeated requests."""
