"""The picture model, of things and shapes, 128x128: made by `python -m training.picture`."""
