"""What models cost on a GPU: memory and step times. Pure: values in, seconds and bytes out."""
