"""Fine-tuning: what is trained on, in which order, with which loss, and what is kept of it."""
