"""What `atelier doctor` looks at. Each check takes the settings and their file, and gives what it found."""

from cli.examination.finding import Finding

__all__ = ["Finding"]
