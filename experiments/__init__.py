"""One question per module: each is a function of its flags and runs by itself."""
