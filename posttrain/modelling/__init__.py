"""`posttrain model`: build a model, ask it what its layers see, turn another into a hybrid."""
