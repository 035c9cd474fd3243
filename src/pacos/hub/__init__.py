"""Models on disk: find them by name, open them whatever their form, convert, quantize, describe."""
