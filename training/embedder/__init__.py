"""The embedder that finds drawings and photographs in seven languages: made by `python -m training.embedder`."""
