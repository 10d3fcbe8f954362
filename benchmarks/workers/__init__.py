"""What workers cost, and what clients notice when they lose one: of one checkout, or of two."""
