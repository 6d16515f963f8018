"""What models cost on a GPU: measured with the real engines, or worked out from a model's config and a data sheet."""
