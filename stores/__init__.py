"""What keeps bytes: files, records, vectors. Knows neither Ray nor HTTP nor the models."""
