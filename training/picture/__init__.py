"""The picture model of the world of things: 128x128, made by `python -m training.picture`."""
