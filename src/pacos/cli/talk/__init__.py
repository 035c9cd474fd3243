"""What `pacos chat` is made of: the talk with a model, its commands, the editor, and how answers are shown."""
