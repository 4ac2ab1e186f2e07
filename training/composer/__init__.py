"""The world of things: scenes of drawings on plain and painted grounds, words for them, and changes to them."""
