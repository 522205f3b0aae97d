"""The audit: which leaves decay, where and by how much, found before the run by watching loss and optimizer."""
