"""minGPT's package by its names, for the demo notebook of the course."""
