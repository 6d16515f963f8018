"""A node on virtual time: scheduling, leasing and placement as they are, engines and links as cost models."""
