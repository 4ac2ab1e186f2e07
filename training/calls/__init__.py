"""What decides which of the server's tools a message calls for: drawing, changing a picture, speaking, or none."""
