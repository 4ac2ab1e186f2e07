"""The model that tells what a picture of the world of things, or a photograph, shows."""
