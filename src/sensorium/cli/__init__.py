"""How is it typed? One Typer sub-application per application: parse, call, print. No logic."""
