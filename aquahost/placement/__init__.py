"""Which model goes where. Pure: values in, a choice out."""
