"""What is asked of a server and when, and what its replies came to: the ruler of benchmarks and simulations."""
