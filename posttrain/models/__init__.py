"""Build, load and save models and their tokenizers."""
