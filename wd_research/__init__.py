"""A laboratory for weight decay."""
