"""The same work done by others: one file a peer, each with train(work) -> Training."""
