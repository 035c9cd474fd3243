"""Ops with numpy bodies, tracing, plans and passes: the one idea of Pacos, see docs/architecture.md."""
