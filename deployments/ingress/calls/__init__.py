"""The one way to call a model: names, turns, calls, states."""
