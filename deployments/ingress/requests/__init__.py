"""Reading what a request says: its body, pictures, JSON schemas."""
