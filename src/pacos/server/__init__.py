"""The HTTP server: many users on the models of one process, in the dialects that clients already speak."""
