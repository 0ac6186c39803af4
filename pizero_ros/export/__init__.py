"""From torch to a bundle, with the proof that both compute the same."""
