"""The image index: records with their vectors, in a database that is the truth about them."""
