"""Image search: its deployment, the index it keeps, the embedders it has had."""
