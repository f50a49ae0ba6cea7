"""llamabuild gives any machine the right llama.cpp, proved."""

__version__ = "0.1.0"
