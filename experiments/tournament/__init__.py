"""Which decay, without a sweep? Worlds whose best decay is known, and rules that are judged by what they lose there."""
