"""The web server: pages, REST, media, Gradio, and the guard in front of them all."""
