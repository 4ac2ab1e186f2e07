"""What Ray Serve runs, one file per deployment."""
